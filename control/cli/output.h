// What a command prints, for people and for machines: text, aligned tables, colour where it is
// wanted, one changing line of progress on a terminal.
//
// Names and descriptions come from devices and other hosts: whatever could move the cursor of a
// terminal is taken out of them here.
#pragma once

#include <cstdio>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace farport {

enum class Colour : uint8_t { none, bold, dim, green, yellow, red };

struct Cell {
  Cell(std::string text, Colour colour = Colour::none)  // NOLINT: a text is a cell
      : text(std::move(text)), colour(colour) {}
  Cell(const char* text) : text(text) {}  // NOLINT
  std::string text;
  Colour colour = Colour::none;
};

enum class Align : uint8_t { left, right };

class Output {
 public:
  struct Settings {
    bool terminal = false;  // lines may be redrawn and are cut to `columns`
    bool colour = false;
    unsigned columns = 80;
  };
  // Neither file is closed here.
  Output(FILE* out, FILE* err, Settings settings);
  // Of this process: a terminal is recognised, NO_COLOR (no-color.org) and TERM=dumb respected.
  static Output standard();

  const Settings& settings() const { return settings_; }

  void line(std::string_view text = {});
  // A line whose parts have colours.
  void line(const std::vector<Cell>& parts);
  // A text broken into lines that fit a terminal; elsewhere one line. `first` begins the first one,
  // the others are indented as far.
  void paragraph(std::vector<Cell> first, std::string_view text);
  void json(const nlohmann::json& value);       // indented
  void json_line(const nlohmann::json& value);  // on one line
  void note(std::string_view text);             // on stderr: "farport: text"
  // A line that the next progress() or line() replaces; nothing where lines cannot be redrawn.
  void progress(const std::vector<Cell>& parts);
  void clear_progress();
  // Moves back over the last `lines` lines, to draw them again. On a terminal only.
  void rewind(unsigned lines);
  void flush();

  // The reader has gone (EPIPE): there is nothing more to say.
  bool closed() const { return closed_; }
  // A write failed otherwise (a full disk, say): errno.
  int write_error() const { return write_error_; }

 private:
  void write(std::string_view text);
  std::string painted(const Cell& cell) const;
  void check();

  FILE* out_;
  FILE* err_;
  Settings settings_;
  bool progress_shown_ = false;
  bool closed_ = false;
  int write_error_ = 0;
};

// Columns as wide as their widest cell, two spaces between, the last one cut on a terminal.
class Table {
 public:
  struct Column {
    std::string title;
    Align align = Align::left;
  };
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  void add(std::vector<Cell> row) { rows_.push_back(std::move(row)); }
  bool empty() const { return rows_.empty(); }
  size_t rows() const { return rows_.size(); }
  void print(Output& output) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

// Without control characters and escape sequences: each is replaced by '?'.
std::string plain(std::string_view text);
// Characters of UTF-8, each taken as one column wide.
size_t display_width(std::string_view text);
// The first `columns` of them, with "..." at the end if that is not all.
std::string cut(std::string_view text, size_t columns);

}  // namespace farport
