// Which path is tried, gone back to, and left alone: as a table of histories, and as a property of
// random ones (FARPORT_SEED=N repeats one).
#include "control/daemon/path_choice.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

namespace farport {
namespace {

constexpr uint64_t s = 1'000'000'000;
constexpr PathSettings settings{
    .return_after_ns = 10 * s, .return_after_max_ns = 100 * s, .forget_after_ns = 300 * s};

TEST(PathChoice, PreferenceIsTheOrder) {
  const PathChoice paths(3, settings);
  EXPECT_EQ(paths.order(), (std::vector<size_t>{0, 1, 2}));
  EXPECT_TRUE(paths.better().empty());
  EXPECT_FALSE(paths.go_back(0));
}

TEST(PathChoice, ALostPathIsTriedLast) {
  PathChoice paths(3, settings);
  paths.connected(0, 1 * s);
  paths.lost(2 * s);
  EXPECT_EQ(paths.order(), (std::vector<size_t>{1, 2, 0}));
  paths.connected(1, 3 * s);
  paths.lost(4 * s);
  EXPECT_EQ(paths.order(), (std::vector<size_t>{0, 2, 1}));
}

TEST(PathChoice, GoesBackWhenTheBetterOneHasBeenWell) {
  PathChoice paths(
      2, {.return_after_ns = 10 * s, .return_after_max_ns = 100 * s, .forget_after_ns = 300 * s});
  paths.connected(1, 0);  // the first never worked
  EXPECT_EQ(paths.better(), (std::vector<size_t>{0}));
  paths.probed(0, true, 5 * s);
  paths.probed(0, true, 14 * s);
  EXPECT_FALSE(paths.go_back(14 * s));
  EXPECT_EQ(paths.go_back(15 * s), 0u);
  paths.connected(0, 15 * s);
  EXPECT_TRUE(paths.better().empty());
}

TEST(PathChoice, OneBadProbeBeginsAnew) {
  PathChoice paths(2, settings);
  paths.connected(1, 0);
  paths.probed(0, true, 1 * s);
  paths.probed(0, false, 9 * s);
  paths.probed(0, true, 10 * s);
  EXPECT_FALSE(paths.go_back(19 * s));
  EXPECT_EQ(paths.go_back(20 * s), 0u);
}

TEST(PathChoice, WhatDisappointsIsGoneBackToLaterEachTime) {
  PathChoice paths(2, settings);
  uint64_t now = 0;
  std::vector<uint64_t> waits;
  for (int i = 0; i < 6; ++i) {
    paths.connected(0, now);
    now += 1 * s;
    paths.lost(now);
    paths.connected(1, now);
    const uint64_t begin = now;
    while (!paths.go_back(now)) {
      paths.probed(0, true, now);
      now += 1 * s;
    }
    waits.push_back((now - begin) / s);
  }
  EXPECT_EQ(waits, (std::vector<uint64_t>{20, 40, 80, 100, 100, 100}));
}

TEST(PathChoice, ALongGoodTimeIsForgiven) {
  PathChoice paths(2, settings);
  paths.connected(0, 0);
  paths.lost(1 * s);  // now it must be well for 20 s
  paths.connected(0, 2 * s);
  paths.lost(400 * s);
  paths.connected(1, 400 * s);
  paths.probed(0, true, 400 * s);
  EXPECT_EQ(paths.go_back(410 * s), 0u);
}

// However a path flaps, a session moves to it at most once in return_after, and the more it flaps
// the seldomer.
TEST(PathChoice, NeverFlaps) {
  const char* given = std::getenv("FARPORT_SEED");
  const uint64_t first = given != nullptr ? std::strtoull(given, nullptr, 10) : 1;
  for (uint64_t seed = first; seed < (given != nullptr ? first + 1 : 50); ++seed) {
    SCOPED_TRACE("FARPORT_SEED=" + std::to_string(seed));
    std::mt19937_64 random(seed);
    PathChoice paths(2, settings);
    paths.connected(0, 0);
    int moves_back = 0;
    bool up = true;
    for (uint64_t now = 0; now < 3'600 * s; now += s) {
      if (random() % 15 == 0) up = !up;
      if (paths.in_use() == 0 && !up) {
        paths.lost(now);
        EXPECT_EQ(paths.order().front(), 1u);
        paths.connected(1, now);
      }
      for (const size_t path : paths.better()) paths.probed(path, up, now);
      if (const auto path = paths.go_back(now)) {
        EXPECT_TRUE(up);
        paths.connected(*path, now);
        ++moves_back;
      }
    }
    EXPECT_LE(moves_back, 20);
  }
}

}  // namespace
}  // namespace farport
