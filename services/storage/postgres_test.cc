#include "services/storage/postgres.h"

#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "services/storage/testing/postgres_server.h"

namespace blindcart::storage {
namespace {

using Failure = PostgresConnection::Failure;
using testing::PostgresServer;

PostgresServer& Server() {
  static const std::unique_ptr<PostgresServer> server = [] {
    absl::StatusOr<std::unique_ptr<PostgresServer>> started = PostgresServer::Start();
    if (!started.ok()) {
      ADD_FAILURE() << started.status();
      std::abort();
    }
    return *std::move(started);
  }();
  return *server;
}

// A table `t` with the rows (1, 10), (2, 20) and (3, 30).
class PostgresConnectionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string url = *Server().CreateDatabase();
    ASSERT_TRUE(PostgresServer::Execute(
                    url,
                    "CREATE TABLE t (id BIGINT PRIMARY KEY, value BIGINT CHECK (value >= 0));"
                    "INSERT INTO t VALUES (1, 10), (2, 20), (3, 30)")
                    .ok());
    connection_ = *PostgresConnection::Open(url);
    // What is prepared and begun costs nothing of its own, but let nothing be said to depend on it.
    ASSERT_EQ(ValueNow(1), 10);
  }

  // -1: no such row.
  int64_t Value(int64_t id) {
    PostgresStatement query = connection_->Prepare("SELECT value FROM t WHERE id = ?");
    const absl::StatusOr<bool> row = query.BindInt64(id).Step();
    return row.ok() && *row ? query.ColumnInt64(0) : -1;
  }
  int64_t ValueNow(int64_t id) {
    int64_t value = -1;
    EXPECT_TRUE(connection_
                    ->InSnapshot([&] {
                      value = Value(id);
                      return absl::OkStatus();
                    })
                    .ok());
    return value;
  }
  absl::Status Set(int64_t id, int64_t value, int64_t expected_changes = 1) {
    PostgresStatement update = connection_->Prepare("UPDATE t SET value = ? WHERE id = ?");
    return update.BindInt64(value).BindInt64(id).RunExpecting(expected_changes);
  }

  std::unique_ptr<PostgresConnection> connection_;
};

TEST_F(PostgresConnectionTest, WhatIsReadAheadComesInOneRoundTrip) {
  ASSERT_TRUE(connection_
                  ->InTransaction([&] {
                    const int64_t before = connection_->round_trips();
                    connection_->ReadAhead([&] {
                      for (int64_t id : {1, 2, 3, 4}) EXPECT_EQ(Value(id), -1) << id;
                    });
                    EXPECT_EQ(Value(2), 20);
                    EXPECT_EQ(Value(1), 10);
                    EXPECT_EQ(Value(4), -1);
                    EXPECT_EQ(Value(3), 30);
                    EXPECT_EQ(connection_->round_trips() - before, 1);
                    EXPECT_EQ(Value(3), 30) << "asked for once more";
                    EXPECT_EQ(connection_->round_trips() - before, 2);
                    return absl::OkStatus();
                  })
                  .ok());
}

TEST_F(PostgresConnectionTest, AWriteForgetsWhatWasReadAhead) {
  for (const bool deferring : {false, true}) {
    ASSERT_TRUE(connection_
                    ->InTransaction([&]() -> absl::Status {
                      connection_->ReadAhead([&] { Value(1); });
                      if (deferring) connection_->DeferWrites();
                      const absl::Status set = Set(1, deferring ? 12 : 11);
                      EXPECT_EQ(Value(1), deferring ? 12 : 11);
                      return set;
                    })
                    .ok());
  }
  // Neither does it outlive its transaction or its savepoint.
  ASSERT_TRUE(connection_
                  ->InTransaction([&] {
                    connection_->ReadAhead([&] { Value(2); });
                    return absl::OkStatus();
                  })
                  .ok());
  ASSERT_TRUE(connection_->InTransaction([&] { return Set(2, 21); }).ok());
  EXPECT_EQ(ValueNow(2), 21);
}

TEST_F(PostgresConnectionTest, ReadAheadIsForReading) {
  const absl::Status status = connection_->InTransaction([&] {
    connection_->ReadAhead([&] { EXPECT_FALSE(Set(1, 11).ok()); });
    return absl::OkStatus();
  });
  EXPECT_TRUE(absl::IsInternal(status)) << status;
  EXPECT_EQ(ValueNow(1), 10);
}

TEST_F(PostgresConnectionTest, DeferredWritesTravelTogetherAndAreCommitted) {
  const int64_t before = connection_->round_trips();
  ASSERT_TRUE(connection_
                  ->InTransaction([&]() -> absl::Status {
                    connection_->DeferWrites();
                    for (int64_t id : {1, 2, 3}) {
                      const absl::Status set = Set(id, id);
                      if (!set.ok()) return set;
                      EXPECT_EQ(connection_->changes(), 1);
                    }
                    EXPECT_EQ(connection_->round_trips(), before);
                    return absl::OkStatus();
                  })
                  .ok());
  EXPECT_EQ(connection_->round_trips() - before, 2) << "the writes, and the commit";
  for (int64_t id : {1, 2, 3}) EXPECT_EQ(ValueNow(id), id);
}

TEST_F(PostgresConnectionTest, ADeferredWriteThatDoesOtherwiseEndsTheTransaction) {
  for (const bool refused : {false, true}) {
    const auto write = [&] { return refused ? Set(2, -5) : Set(77, 5); };
    const absl::Status status = connection_->InTransaction([&] {
      connection_->DeferWrites();
      EXPECT_TRUE(Set(1, 11).ok());
      EXPECT_TRUE(write().ok());
      return absl::OkStatus();
    });
    EXPECT_EQ(absl::IsInvalidArgument(status), refused) << status;
    EXPECT_EQ(absl::IsAborted(status), !refused) << status;
    EXPECT_EQ(connection_->failure(), Failure::kConflict);
    EXPECT_TRUE(connection_->was_surprised());
    EXPECT_EQ(ValueNow(1), 10);
    EXPECT_FALSE(connection_->was_surprised());

    connection_->AllowDeferredWrites(false);
    const absl::Status told = connection_->InTransaction([&] {
      connection_->DeferWrites();
      const absl::Status set = write();
      EXPECT_EQ(set.ok(), !refused);
      if (!refused) {
        EXPECT_EQ(connection_->changes(), 0);
      }
      return set;
    });
    EXPECT_EQ(absl::IsInvalidArgument(told), refused) << told;
    connection_->AllowDeferredWrites(true);
  }
}

TEST_F(PostgresConnectionTest, ASavepointsDeferredWritesShareItsFate) {
  for (const bool sent : {false, true}) {
    ASSERT_TRUE(
        connection_
            ->InTransaction([&] {
              EXPECT_TRUE(connection_
                              ->InSavepoint([&] {
                                connection_->DeferWrites();
                                return Set(1, 11);
                              })
                              .ok());
              EXPECT_FALSE(connection_
                               ->InSavepoint([&] {
                                 connection_->DeferWrites();
                                 EXPECT_TRUE(Set(2, 22).ok());
                                 if (sent) {
                                   EXPECT_EQ(Value(2), 22);
                                 }
                                 EXPECT_TRUE(Set(3, 33).ok());
                                 return absl::FailedPreconditionError("it changed its mind");
                               })
                               .ok());
              const int64_t before = connection_->round_trips();
              EXPECT_TRUE(Set(3, 34).ok());
              EXPECT_GT(connection_->round_trips(), before) << "deferring ends with the savepoint";
              return absl::OkStatus();
            })
            .ok());
    EXPECT_EQ(ValueNow(1), 11);
    EXPECT_EQ(ValueNow(2), 20);
    EXPECT_EQ(ValueNow(3), 34);
  }
}

}  // namespace
}  // namespace blindcart::storage
