#include "control/cli/output.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <nlohmann/json.hpp>

namespace farport {

namespace {

constexpr std::string_view kEndColour = "\x1b[0m";

std::string_view begin_colour(Colour colour) {
  switch (colour) {
    case Colour::none:
      return "";
    case Colour::bold:
      return "\x1b[1m";
    case Colour::dim:
      return "\x1b[2m";
    case Colour::green:
      return "\x1b[32m";
    case Colour::yellow:
      return "\x1b[33m";
    case Colour::red:
      return "\x1b[31m";
  }
  return "";
}

bool continues(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }  // of UTF-8

unsigned terminal_columns() {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

}  // namespace

std::string plain(std::string_view text) {
  std::string clean;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    // C1 controls are U+0080 to U+009F: 0xc2 0x80 to 0xc2 0x9f.
    const bool c1 = c == 0xc2 && i + 1 < text.size() &&
                    static_cast<unsigned char>(text[i + 1]) >= 0x80 &&
                    static_cast<unsigned char>(text[i + 1]) <= 0x9f;
    if (c1) ++i;
    clean += c < 0x20 || c == 0x7f || c1 ? '?' : text[i];
  }
  return clean;
}

size_t display_width(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return !continues(c); }));
}

std::string cut(std::string_view text, size_t columns) {
  if (display_width(text) <= columns) return std::string(text);
  const size_t keep = columns > 3 ? columns - 3 : 0;
  size_t end = 0;
  for (size_t seen = 0; end < text.size(); ++end) {
    if (!continues(text[end]) && seen++ == keep) break;
  }
  return std::string(text.substr(0, end)) + std::string(std::min<size_t>(3, columns), '.');
}

Output::Output(FILE* out, FILE* err, Settings settings)
    : out_(out), err_(err), settings_(settings) {}

Output Output::standard() {
  Settings settings;
  const char* term = std::getenv("TERM");
  const bool dumb = term == nullptr || std::string_view(term) == "dumb";
  const char* no_color = std::getenv("NO_COLOR");
  settings.terminal = isatty(STDOUT_FILENO) == 1 && !dumb;
  settings.colour = settings.terminal && (no_color == nullptr || *no_color == '\0');
  if (settings.terminal) settings.columns = terminal_columns();
  return {stdout, stderr, settings};
}

void Output::write(std::string_view text) {
  if (closed_ || write_error_ != 0) return;
  errno = 0;
  if (std::fwrite(text.data(), 1, text.size(), out_) != text.size()) check();
}

void Output::check() {
  closed_ = errno == EPIPE;
  if (!closed_) write_error_ = errno == 0 ? EIO : errno;
}

void Output::flush() {
  if (closed_ || write_error_ != 0) return;
  errno = 0;
  if (std::fflush(out_) != 0) check();
}

std::string Output::painted(const Cell& cell) const {
  if (!settings_.colour || cell.colour == Colour::none) return plain(cell.text);
  return fmt::format("{}{}{}", begin_colour(cell.colour), plain(cell.text), kEndColour);
}

void Output::line(std::string_view text) {
  clear_progress();
  write(plain(text));
  write("\n");
  if (settings_.terminal) flush();
}

void Output::line(const std::vector<Cell>& parts) {
  clear_progress();
  for (const Cell& part : parts) write(painted(part));
  write("\n");
  if (settings_.terminal) flush();
}

void Output::paragraph(std::vector<Cell> first, std::string_view text) {
  size_t indent = 0;
  for (const Cell& part : first) indent += display_width(plain(part.text));
  const size_t room = settings_.columns > indent + 20 ? settings_.columns - indent : 20;
  std::vector<Cell> begin = std::move(first);
  std::string current;
  while (!text.empty()) {
    const auto end = text.find(' ');
    const std::string_view word = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    const bool fits = display_width(current) + 1 + display_width(word) <= room;
    if (!current.empty() && settings_.terminal && !fits) {
      begin.push_back(current);
      line(begin);
      begin = {std::string(indent, ' ')};
      current.clear();
    }
    if (!current.empty()) current += ' ';
    current += word;
  }
  begin.push_back(current);
  line(begin);
}

// Names from devices may hold any bytes: replaced, never thrown over.
void Output::json(const nlohmann::json& value) {
  write(value.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
  write("\n");
}

void Output::json_line(const nlohmann::json& value) {
  write(value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  write("\n");
  flush();  // whoever follows a stream wants each line as it comes
}

void Output::note(std::string_view text) {
  clear_progress();
  flush();
  std::fputs(fmt::format("farport: {}\n", plain(text)).c_str(), err_);
  std::fflush(err_);
}

void Output::progress(const std::vector<Cell>& parts) {
  if (!settings_.terminal) return;
  write("\r\x1b[2K");
  size_t room = settings_.columns > 1 ? settings_.columns - 1 : 0;
  for (const Cell& part : parts) {
    const std::string text = cut(plain(part.text), room);
    write(painted({text, part.colour}));
    room -= std::min(room, display_width(text));
  }
  progress_shown_ = true;
  flush();
}

void Output::clear_progress() {
  if (!progress_shown_) return;
  progress_shown_ = false;
  write("\r\x1b[2K");
}

void Output::rewind(unsigned lines) {
  if (settings_.terminal && lines > 0) write(fmt::format("\x1b[{}A\x1b[J", lines));
}

void Table::print(Output& output) const {
  std::vector<size_t> widths;
  for (size_t i = 0; i < columns_.size(); ++i) {
    size_t width = display_width(columns_[i].title);
    for (const auto& row : rows_) width = std::max(width, display_width(plain(row.at(i).text)));
    widths.push_back(width);
  }
  const auto print_row = [&](std::vector<Cell> row) {
    while (row.size() > 1 && row.back().text.empty()) row.pop_back();  // no spaces at the end
    std::vector<Cell> parts;
    size_t used = 0;
    for (size_t i = 0; i < row.size(); ++i) {
      std::string text = plain(row[i].text);
      const size_t padding = widths[i] - display_width(text);
      const bool last = i + 1 == row.size();
      if (columns_[i].align == Align::right) {
        text = std::string(padding, ' ') + text;
      } else if (!last) {
        text += std::string(padding, ' ');
      }
      if (last && output.settings().terminal) {
        const size_t columns = output.settings().columns;
        text = cut(text, std::max<size_t>(columns > used ? columns - used : 0, 12));
      }
      used += widths[i] + 2;
      parts.push_back({text, row[i].colour});
      if (!last) parts.push_back("  ");
    }
    output.line(parts);
  };
  std::vector<Cell> titles;
  for (const Column& column : columns_) titles.push_back({column.title, Colour::dim});
  print_row(titles);
  for (const auto& row : rows_) print_row(row);
}

}  // namespace farport
