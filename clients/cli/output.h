// What the command line writes: tables, JSON and messages, and whether a terminal shows them.
//
// Results go to standard output; messages, prompts and progress to standard error. Everything that
// comes from outside is sanitised here (display_text.h). A Console is thread-safe: what is written in
// one call stays together. A Table is not.
#ifndef BLINDCART_CLIENTS_CLI_OUTPUT_H_
#define BLINDCART_CLIENTS_CLI_OUTPUT_H_

#include <cstddef>
#include <mutex>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace google::protobuf {
class Message;
}

namespace blindcart::cli {

enum class Style { kPlain, kBold, kFaint, kGood, kWarning, kBad };
enum class Align { kLeft, kRight };

struct Cell {
  Cell(std::string cell_text, Style cell_style = Style::kPlain)  // NOLINT(*-explicit-*)
      : text(std::move(cell_text)), style(cell_style) {}
  Cell(const char* cell_text) : text(cell_text) {}  // NOLINT(*-explicit-*)
  std::string text;
  Style style = Style::kPlain;
};

class Table {
 public:
  struct Column {
    std::string name;
    Align align = Align::kLeft;
    bool may_shrink = false;  // Cut to fit a terminal's width.
  };
  struct Look {
    bool colour = false;
    size_t width = 0;  // Of the terminal; 0: nothing is cut.
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  // Names and values without a header, for one thing's details.
  static Table Details();

  void AddRow(std::vector<Cell> row);
  bool empty() const { return rows_.empty(); }
  std::string Render(const Look& look) const;

 private:
  std::vector<size_t> Widths(size_t terminal_width) const;

  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
  bool header_ = true;
};

class Console {
 public:
  struct Options {
    bool out_is_terminal = false;
    bool err_is_terminal = false;
    bool in_is_terminal = false;
    bool colour = false;  // On a terminal, and not refused by NO_COLOR or TERM=dumb.
    size_t width = 0;     // 0: no terminal.
  };
  // Of this process's standard streams and environment.
  static Options Detect();

  // Both streams must outlive the console.
  Console(const Options& options, std::ostream& out, std::ostream& err)
      : options_(options), out_(out), err_(err) {}

  const Options& options() const { return options_; }

  void Print(const Table& table);
  // `text` may have several lines; each is sanitised.
  void Print(absl::string_view text);
  // "blindcart: TEXT" on standard error.
  void Complain(absl::string_view text);
  // Standard error, as it is and flushed: prompts and progress, which this program wrote itself.
  void WriteRaw(absl::string_view text);
  // One JSON document with proto field names. On one line when `one_line` or no terminal reads it.
  void PrintJson(const google::protobuf::Message& message, bool one_line = false);
  // A part of a longer result on standard output, as it is and without a line's end of its own:
  // JSON or CSV that this program wrote.
  void PrintPart(absl::string_view text);
  // Whether all results so far have been written: no full disk, no closed pipe.
  bool Written();
  // JSON that is already written.
  void PrintJsonText(absl::string_view json);
  // Whether all that was printed on standard output until now could be written.
  bool AllWritten();

 private:
  const Options options_;
  std::mutex mutex_;  // For the streams.
  std::ostream& out_;
  std::ostream& err_;
};

// With proto field names and every primitive field, present or not. 64-bit numbers are strings, as
// in all protobuf JSON.
std::string ToJson(const google::protobuf::Message& message, bool one_line);

}  // namespace blindcart::cli

#endif  // BLINDCART_CLIENTS_CLI_OUTPUT_H_
