// From repeated measurements to a row, and from rows to a table for people and JSON for machines.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bench/machine.h"
#include "bench/measurement.h"

namespace farport::bench {

// The middle value; the mean of the two middle ones for an even count; 0 for none.
double median(std::vector<double> values);

// Medians over the repetitions of one program.
struct Figures {
  double goodput_bytes_s = 0;
  double transfers_s = 0;
  double rtt_us_p50 = 0;
  double rtt_us_p99 = 0;
  double rtt_us_p999 = 0;
  double cpu_us_per_transfer = 0;
  double allocations_per_transfer = 0;
  double rss_bytes = 0;
};
Figures figures(const std::vector<Measurement>& repetitions, uint32_t size);

// One load: ours, and the floor measured between our repetitions.
struct Row {
  Load load;
  Figures ours;
  Figures floor;

  double goodput_ratio() const;  // ours / floor: 1 is as good as bare sockets, more is better
  double rtt_ratio() const;      // ours / floor at the median: less is better; 0 when unknown
};

// {"machine": {...}, "runs": [...]}, the fields of a run as named in the documentation of
// farport-bench: bytes per second, microseconds, bytes.
nlohmann::json machine_json(const Machine& machine);
nlohmann::json to_json(const Machine& machine, const std::vector<Row>& rows);

// For people: two lines of description, the column titles, a line for each row, what was asked of
// Farport and whether this machine gives it.
std::string table_head(const Machine& machine);
std::string table_line(const Row& row);
std::string targets(const std::vector<Row>& rows);

// "64 B", "64 KiB", "1.5 GB/s": binary for sizes, decimal for rates.
std::string size_text(uint64_t bytes);
std::string rate_text(double bytes_s);

}  // namespace farport::bench
