#include "clients/cli/output.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "clients/cli/display_text.h"
#include "google/protobuf/message.h"
#include "google/protobuf/util/json_util.h"

namespace blindcart::cli {
namespace {

constexpr size_t kGap = 2;
constexpr size_t kMinShrunkWidth = 12;
constexpr size_t kFallbackWidth = 80;

const char* EscapeOf(Style style) {
  switch (style) {
    case Style::kPlain:
      return "";
    case Style::kBold:
      return "\x1b[1m";
    case Style::kFaint:
      return "\x1b[2m";
    case Style::kGood:
      return "\x1b[32m";
    case Style::kWarning:
      return "\x1b[33m";
    case Style::kBad:
      return "\x1b[31m";
  }
  return "";
}

std::string Painted(absl::string_view text, Style style, bool colour) {
  if (!colour || style == Style::kPlain || text.empty()) return std::string(text);
  return absl::StrCat(EscapeOf(style), text, "\x1b[0m");
}

}  // namespace

Table Table::Details() {
  Table table({{"", Align::kLeft, false}, {"", Align::kLeft, false}});
  table.header_ = false;
  return table;
}

void Table::AddRow(std::vector<Cell> row) {
  for (Cell& cell : row) cell.text = Sanitise(cell.text);
  if (!header_ && row[0].style == Style::kPlain) row[0].style = Style::kFaint;
  rows_.push_back(std::move(row));
}

std::vector<size_t> Table::Widths(size_t terminal_width) const {
  std::vector<size_t> widths(columns_.size(), 0);
  size_t total = columns_.empty() ? 0 : (columns_.size() - 1) * kGap;
  for (size_t i = 0; i < columns_.size(); ++i) {
    if (header_) widths[i] = DisplayWidth(columns_[i].name);
    for (const std::vector<Cell>& row : rows_) {
      widths[i] = std::max(widths[i], DisplayWidth(row[i].text));
    }
    total += widths[i];
  }
  if (terminal_width == 0) return widths;
  for (size_t i = 0; i < columns_.size() && total > terminal_width; ++i) {
    if (!columns_[i].may_shrink || widths[i] <= kMinShrunkWidth) continue;
    const size_t cut = std::min(total - terminal_width, widths[i] - kMinShrunkWidth);
    widths[i] -= cut;
    total -= cut;
  }
  return widths;
}

std::string Table::Render(const Look& look) const {
  const std::vector<size_t> widths = Widths(look.width);
  std::string text;
  const auto render_row = [&](const std::vector<Cell>& row) {
    std::string line;
    size_t owed = 0;  // Spaces before the next text, so that no line ends in spaces.
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string shown = Shorten(row[i].text, widths[i]);
      const size_t padding = widths[i] - std::min(widths[i], DisplayWidth(shown));
      const bool right = columns_[i].align == Align::kRight;
      if (right) owed += padding;
      if (!shown.empty()) {
        line.append(owed, ' ');
        owed = 0;
        absl::StrAppend(&line, Painted(shown, row[i].style, look.colour));
      }
      owed += kGap + (right ? 0 : padding);
    }
    absl::StrAppend(&text, line, "\n");
  };
  if (header_) {
    std::vector<Cell> names;
    for (const Column& column : columns_) names.emplace_back(column.name, Style::kBold);
    render_row(names);
  }
  for (const std::vector<Cell>& row : rows_) render_row(row);
  return text;
}

Console::Options Console::Detect() {
  Options options;
  options.out_is_terminal = isatty(STDOUT_FILENO) == 1;
  options.err_is_terminal = isatty(STDERR_FILENO) == 1;
  options.in_is_terminal = isatty(STDIN_FILENO) == 1;
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  options.colour = options.out_is_terminal && (no_color == nullptr || *no_color == '\0') &&
                   term != nullptr && std::strcmp(term, "dumb") != 0;
  if (options.out_is_terminal || options.err_is_terminal) {
    winsize size{};
    const int terminal = options.out_is_terminal ? STDOUT_FILENO : STDERR_FILENO;
    const bool known = ioctl(terminal, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    options.width = known ? size.ws_col : kFallbackWidth;
  }
  return options;
}

void Console::Print(const Table& table) {
  std::lock_guard<std::mutex> lock(mutex_);
  out_ << table.Render({options_.colour, options_.out_is_terminal ? options_.width : 0})
       << std::flush;
}

void Console::Print(absl::string_view text) {
  std::lock_guard<std::mutex> lock(mutex_);
  out_ << SanitiseLines(text) << "\n" << std::flush;
}

void Console::Complain(absl::string_view text) {
  std::string line = SanitiseLines(text);
  while (!line.empty() && (line.back() == '\n' || line.back() == ' ')) line.pop_back();
  std::lock_guard<std::mutex> lock(mutex_);
  err_ << "blindcart: " << line << "\n" << std::flush;
}

void Console::WriteRaw(absl::string_view text) {
  std::lock_guard<std::mutex> lock(mutex_);
  err_.write(text.data(), static_cast<std::streamsize>(text.size()));
  err_ << std::flush;
}

void Console::PrintPart(absl::string_view text) {
  std::lock_guard<std::mutex> lock(mutex_);
  out_.write(text.data(), static_cast<std::streamsize>(text.size()));
}

bool Console::Written() {
  std::lock_guard<std::mutex> lock(mutex_);
  return out_.flush().good();
}

void Console::PrintJson(const google::protobuf::Message& message, bool one_line) {
  PrintJsonText(ToJson(message, one_line || !options_.out_is_terminal));
}

void Console::PrintJsonText(absl::string_view json) {
  std::lock_guard<std::mutex> lock(mutex_);
  out_.write(json.data(), static_cast<std::streamsize>(json.size()));
  if (!absl::EndsWith(json, "\n")) out_ << "\n";
  out_ << std::flush;
}

bool Console::AllWritten() {
  std::lock_guard<std::mutex> lock(mutex_);
  return out_.flush().good();
}

std::string ToJson(const google::protobuf::Message& message, bool one_line) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = !one_line;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string json;
  // Writing to a string fails for no message without extensions and Any.
  const auto status = google::protobuf::util::MessageToJsonString(message, &json, options);
  return status.ok() ? json : "{}";
}

}  // namespace blindcart::cli
