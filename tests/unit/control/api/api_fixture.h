// An ApiServer on a Unix socket in a folder of its own, with a control thread and a FakeService.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <future>
#include <memory>
#include <string>
#include <thread>

#include "control/api/api_server.h"
#include "control/api/unix_listener.h"
#include "tests/unit/control/api/fake_service.h"

namespace farport::test {

inline constexpr std::chrono::seconds patience{20};

inline bool eventually(const std::function<bool()>& holds) {
  const auto until = std::chrono::steady_clock::now() + patience;
  while (!holds()) {
    if (std::chrono::steady_clock::now() > until) return false;
    poll(nullptr, 0, 2);
  }
  return true;
}

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "farport-XXXXXX").string();
    path_ = mkdtemp(name.data());
    std::filesystem::permissions(path_, std::filesystem::perms(0755));
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// For as long as it lives this process, if root's, may do only what anybody may.
class Unprivileged {
 public:
  Unprivileged() : before_(geteuid()) {
    constexpr uid_t nobody = 65534;
    if (before_ == 0) may_ = seteuid(nobody) == 0;
  }
  ~Unprivileged() {
    if (before_ == 0 && seteuid(before_) != 0) std::abort();
  }
  bool works() const { return may_; }

 private:
  const uid_t before_;
  bool may_ = true;
};

inline sockaddr_un unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  return address;
}

// A client that sends whatever a test wants.
class RawClient {
 public:
  explicit RawClient(const std::string& path)
      : socket_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const auto address = unix_address(path);
    connected_ =
        connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }
  bool connected() const { return connected_; }
  bool send(std::string_view text) {
    while (!text.empty()) {
      const ssize_t sent = ::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      text.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }
  void end_sending() { shutdown(socket_.get(), SHUT_WR); }
  void close() { socket_.reset(); }
  // What has come when `enough` says so, the server closes, or patience ends (then with "TIMEOUT").
  std::string receive(const std::function<bool(const std::string&)>& enough) {
    const auto until = std::chrono::steady_clock::now() + patience;
    while (!enough(received_)) {
      if (std::chrono::steady_clock::now() > until) return received_ + "TIMEOUT";
      pollfd waiting{socket_.get(), POLLIN, 0};
      if (poll(&waiting, 1, 50) <= 0) continue;
      char piece[4096];
      const ssize_t got = recv(socket_.get(), piece, sizeof piece, 0);
      if (got <= 0) break;
      received_.append(piece, static_cast<size_t>(got));
    }
    return std::exchange(received_, {});
  }
  std::string receive_until(const std::string& text) {
    return receive([&](const std::string& all) { return all.find(text) != std::string::npos; });
  }
  std::string receive_all() {
    return receive([](const std::string&) { return false; });
  }

 private:
  FileDescriptor socket_;
  bool connected_ = false;
  std::string received_;
};

class ApiFixture : public testing::Test {
 protected:
  // Runs on the control thread, and waits.
  template <class Work>
  auto on_control(Work work) {
    std::promise<decltype(work())> done;
    boost::asio::post(context_, [&] {
      if constexpr (std::is_void_v<decltype(work())>) {
        work();
        done.set_value();
      } else {
        done.set_value(work());
      }
    });
    return done.get_future().get();
  }

  void SetUp() override {
    auto listener = listen_unix({.path = socket_path, .group = {}, .mode = 0600});
    ASSERT_TRUE(listener) << listener.error().message;
    on_control([&] {
      server = std::make_unique<ApiServer>(context_, service, std::move(*listener), socket_path);
    });
  }
  void TearDown() override {
    on_control([this] { server.reset(); });
    work_.reset();
    thread_.join();
  }
  TemporaryFolder folder;
  const std::string socket_path = folder.file("api.sock");
  FakeService service;
  std::unique_ptr<ApiServer> server;

 private:
  boost::asio::io_context context_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{
      context_.get_executor()};
  std::thread thread_{[this] { context_.run(); }};
};

}  // namespace farport::test
