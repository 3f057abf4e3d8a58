// Both makers of each cipher give the same bytes, however the pieces are cut; what was changed is
// not opened.
#include "dataplane/aead.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace farport {
namespace {

using Bytes = std::vector<std::byte>;

class AeadTest : public testing::TestWithParam<Aead::Kind> {
 protected:
  void SetUp() override {
    for (auto& byte : key_) byte = static_cast<std::byte>(random_());
    for (auto& byte : nonce_) byte = static_cast<std::byte>(random_());
  }
  std::unique_ptr<Aead> keyed(std::unique_ptr<Aead> aead) {
    EXPECT_NE(aead, nullptr);
    EXPECT_TRUE(aead->set_key(std::span(key_).first(Aead::key_bytes(GetParam()))));
    return aead;
  }
  Bytes noise(size_t bytes) {
    Bytes made(bytes);
    for (auto& byte : made) byte = static_cast<std::byte>(random_());
    return made;
  }
  // Cuts at random, into at most four.
  std::vector<iovec> pieces_of(Bytes& bytes) {
    std::vector<iovec> pieces;
    size_t at = 0;
    for (int i = 0; i < 3 && at < bytes.size(); ++i) {
      const size_t share = random_() % (bytes.size() - at + 1);
      if (share != 0) pieces.push_back({bytes.data() + at, share});
      at += share;
    }
    if (at < bytes.size() || pieces.empty()) {
      pieces.push_back({bytes.data() + at, bytes.size() - at});
    }
    return pieces;
  }

  std::mt19937_64 random_{20261123};
  std::array<std::byte, Aead::key_bytes_max> key_;
  Aead::Nonce nonce_;
  std::array<std::byte, 5> header_{std::byte{23}, std::byte{3}, std::byte{3}};
};

TEST_P(AeadTest, BothMakersAgreeHoweverItIsCut) {
  const auto seal = keyed(Aead::make(GetParam(), Aead::Use::seal));
  const auto open = keyed(Aead::make(GetParam(), Aead::Use::open));
  const auto seal_by_openssl = keyed(Aead::make_by_openssl(GetParam(), Aead::Use::seal));
  const auto open_by_openssl = keyed(Aead::make_by_openssl(GetParam(), Aead::Use::open));
  static constexpr std::array<size_t, 14> sizes{1,    15,   16,   17,   255,   256,   257,
                                                1023, 1024, 4096, 8191, 16384, 16385, 16400};
  for (int round = 0; round < 600; ++round) {
    Bytes plain = noise(round % 3 == 0 ? sizes[round / 3 % sizes.size()] : 1 + random_() % 17000);
    nonce_[11] = static_cast<std::byte>(round);
    Bytes sealed(plain.size() + Aead::tag_bytes);
    Bytes other(sealed.size());
    ASSERT_TRUE(seal->seal(nonce_, header_, pieces_of(plain), sealed.data()));
    ASSERT_TRUE(seal_by_openssl->seal(nonce_, header_, pieces_of(plain), other.data()));
    ASSERT_EQ(sealed, other) << plain.size();
    for (const auto& opener : {open.get(), open_by_openssl.get()}) {
      Bytes opened(plain.size());
      ASSERT_TRUE(opener->open(nonce_, header_, sealed, pieces_of(opened)));
      ASSERT_EQ(opened, plain);
      Bytes in_place = sealed;
      const iovec piece{in_place.data(), plain.size()};
      ASSERT_TRUE(opener->open(nonce_, header_, in_place, std::span(&piece, 1)));
      in_place.resize(plain.size());
      ASSERT_EQ(in_place, plain);
    }
    Bytes in_place = plain;
    in_place.resize(sealed.size());
    const iovec piece{in_place.data(), plain.size()};
    ASSERT_TRUE(seal->seal(nonce_, header_, std::span(&piece, 1), in_place.data()));
    ASSERT_EQ(in_place, sealed);
  }
}

TEST_P(AeadTest, AnyChangeIsSeenAndLeavesZeros) {
  for (const bool by_openssl : {false, true}) {
    const auto make = by_openssl ? &Aead::make_by_openssl : &Aead::make;
    const auto seal = keyed(make(GetParam(), Aead::Use::seal));
    const auto open = keyed(make(GetParam(), Aead::Use::open));
    for (const size_t size : {20u, 3000u}) {
      Bytes plain = noise(size);
      const iovec piece{plain.data(), plain.size()};
      Bytes sealed(plain.size() + Aead::tag_bytes);
      ASSERT_TRUE(seal->seal(nonce_, header_, std::span(&piece, 1), sealed.data()));
      const auto refuses = [&](const Aead::Nonce& nonce, std::span<const std::byte> header,
                               std::span<const std::byte> changed) {
        Bytes opened(changed.size() - Aead::tag_bytes, std::byte{1});
        EXPECT_FALSE(open->open(nonce, header, changed, pieces_of(opened)));
        EXPECT_EQ(opened, Bytes(opened.size()));
      };
      for (const size_t at : {size_t{0}, size / 2, size - 1, size, sealed.size() - 1}) {
        Bytes changed = sealed;
        changed[at] ^= std::byte{1};
        refuses(nonce_, header_, changed);
      }
      refuses(nonce_, header_, std::span(sealed).first(sealed.size() - 1));
      auto nonce = nonce_;
      nonce[0] ^= std::byte{1};
      refuses(nonce, header_, sealed);
      auto header = header_;
      header[4] ^= std::byte{1};
      refuses(nonce_, header, sealed);
      Bytes opened(size);
      EXPECT_TRUE(open->open(nonce_, header_, sealed, pieces_of(opened)));
      EXPECT_EQ(opened, plain);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, AeadTest,
                         testing::Values(Aead::Kind::aes_128_gcm, Aead::Kind::aes_256_gcm,
                                         Aead::Kind::chacha20_poly1305),
                         [](const auto& info) {
                           return std::string(info.param == Aead::Kind::aes_128_gcm   ? "Aes128"
                                              : info.param == Aead::Kind::aes_256_gcm ? "Aes256"
                                                                                      : "ChaCha20");
                         });

}  // namespace
}  // namespace farport
