#include "control/cli/output.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <nlohmann/json.hpp>

#include "dataplane/file_descriptor.h"
#include "tests/unit/control/cli/captured_output.h"

namespace farport::test {
namespace {

Output::Settings terminal(unsigned columns, bool colour = false) {
  return {.terminal = true, .colour = colour, .columns = columns};
}

TEST(Plain, TakesOutWhatMovesATerminalsCursor) {
  EXPECT_EQ(plain("disk"), "disk");
  EXPECT_EQ(plain("caf\u00e9 \u4e2d"), "caf\u00e9 \u4e2d");
  EXPECT_EQ(plain("a\x1b[2Jb\nc\td\re\x7f"), "a?[2Jb?c?d?e?");
  EXPECT_EQ(plain("x\u009b31my"), "x?31my");  // CSI as one C1 control
  EXPECT_EQ(plain(std::string_view("\0", 1)), "?");
}

TEST(Cut, CountsCharactersNotBytes) {
  EXPECT_EQ(cut("abcdef", 6), "abcdef");
  EXPECT_EQ(cut("abcdefg", 6), "abc...");
  EXPECT_EQ(cut("\u00e9\u00e9\u00e9\u00e9\u00e9", 5), "\u00e9\u00e9\u00e9\u00e9\u00e9");
  EXPECT_EQ(cut("\u00e9\u00e9\u00e9\u00e9\u00e9", 4), "\u00e9...");
  EXPECT_EQ(cut("abcdef", 2), "..");
  EXPECT_EQ(cut("abcdef", 0), "");
  EXPECT_EQ(display_width("\u00e9a"), 2u);
}

TEST(TableOfOutput, AlignsItsColumns) {
  CapturedOutput captured;
  Table table({{"NAME"}, {"RATE", Align::right}, {"STATE"}});
  table.add({"a", "12 MB/s", "free"});
  table.add({"longer", "3 B/s", ""});
  table.print(captured.output);
  EXPECT_EQ(captured.out(),
            "NAME       RATE  STATE\n"
            "a       12 MB/s  free\n"
            "longer    3 B/s\n");
}

TEST(TableOfOutput, WidthsAreThoseOfWhatIsSeen) {
  CapturedOutput captured(terminal(80, true));
  Table table({{"A"}, {"B"}});
  table.add({{"\u00e9\u00e9\u00e9\u00e9", Colour::red}, "x"});
  table.add({"four", "y"});
  table.print(captured.output);
  EXPECT_EQ(captured.out(),
            "\x1b[2mA   \x1b[0m  \x1b[2mB\x1b[0m\n"
            "\x1b[31m\u00e9\u00e9\u00e9\u00e9\x1b[0m  x\n"
            "four  y\n");
}

TEST(TableOfOutput, OnlyATerminalCutsTheLastColumn) {
  const std::string text(60, 'w');
  for (const bool is_terminal : {false, true}) {
    CapturedOutput captured({.terminal = is_terminal, .colour = false, .columns = 40});
    Table table({{"N"}, {"WHY"}});
    table.add({"1", text});
    table.print(captured.output);
    EXPECT_EQ(captured.out().find(text) == std::string::npos, is_terminal);
    EXPECT_EQ(captured.out().find("...") != std::string::npos, is_terminal);
  }
}

TEST(OutputText, NamesOfDevicesCannotWriteEscapes) {
  CapturedOutput captured(terminal(80, true));
  captured.output.line("evil \x1b]0;title\x07");
  captured.output.line({{"evil \x1b[31m", Colour::none}});
  captured.output.note("evil \x1b[2J\n");
  EXPECT_EQ(captured.out().find('\x1b'), std::string::npos) << captured.out();
  EXPECT_EQ(captured.err(), "farport: evil ?[2J?\n");
}

TEST(OutputText, ParagraphsWrapOnTerminalsOnly) {
  CapturedOutput narrow(terminal(34));
  narrow.output.paragraph({"  - "}, "one two three four five six seven eight");
  EXPECT_EQ(narrow.out(), "  - one two three four five six\n    seven eight\n");
  CapturedOutput piped;
  piped.output.paragraph({"  - "}, std::string(200, 'a') + " b");
  EXPECT_EQ(piped.out(), "  - " + std::string(200, 'a') + " b\n");
  CapturedOutput word(terminal(30));
  word.output.paragraph({""}, std::string(50, 'a'));  // a word of its own width is not broken
  EXPECT_EQ(word.out(), std::string(50, 'a') + "\n");
}

TEST(OutputText, ProgressIsForTerminalsAndGoesAway) {
  CapturedOutput piped;
  piped.output.progress({{"working"}});
  EXPECT_EQ(piped.out(), "");
  CapturedOutput shown(terminal(12));
  shown.output.progress({{"working for long"}});
  shown.output.line("done");
  EXPECT_EQ(shown.out(), "\r\x1b[2Kworking ...\r\x1b[2Kdone\n");
}

TEST(OutputText, JsonTakesAnyBytes) {
  CapturedOutput captured;
  captured.output.json_line({{"name", "caf\xe9"}});
  EXPECT_FALSE(nlohmann::json::parse(captured.out(), nullptr, false).is_discarded());
}

TEST(OutputText, AReaderWhoHasGoneIsNoFault) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  ::close(ends[0]);
  std::signal(SIGPIPE, SIG_IGN);
  FILE* out = fdopen(ends[1], "w");
  Output output(out, stderr, {});
  output.line("anybody?");
  output.flush();
  EXPECT_TRUE(output.closed());
  EXPECT_EQ(output.write_error(), 0);
  output.line("nobody");
  std::fclose(out);
}

TEST(OutputText, AFullDiskIsAFault) {
  FILE* full = std::fopen("/dev/full", "w");
  if (full == nullptr) GTEST_SKIP() << "this system has no /dev/full";
  Output output(full, stderr, {});
  output.line("anything");
  output.flush();
  EXPECT_FALSE(output.closed());
  EXPECT_EQ(output.write_error(), ENOSPC);
  std::fclose(full);
}

}  // namespace
}  // namespace farport::test
