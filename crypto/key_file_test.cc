#include "crypto/key_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <set>
#include <sstream>
#include <string>

#include "crypto/testing/test_identity.h"
#include "gtest/gtest.h"

namespace blindcart::crypto {
namespace {

constexpr char kPassPhrase[] = "correct horse battery staple";

std::string Read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

void Write(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
  ASSERT_EQ(chmod(path.c_str(), 0600), 0);
}

class KeyFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = ::testing::TempDir() + "/key_file_XXXXXX";
    ASSERT_NE(mkdtemp(&folder_[0]), nullptr);
    rsa_path_ = folder_ + "/rsa.pem";
    ed25519_path_ = folder_ + "/ed25519.pem";
  }

  std::set<std::string> FilesInFolder() const {
    std::set<std::string> names;
    DIR* dir = opendir(folder_.c_str());
    while (const dirent* entry = readdir(dir)) names.insert(entry->d_name);
    closedir(dir);
    names.erase(".");
    names.erase("..");
    return names;
  }

  std::string folder_, rsa_path_, ed25519_path_;
};

TEST_F(KeyFileTest, LoadsWhatItSaved) {
  const Identity& identity = TestIdentity(0);
  ASSERT_TRUE(SaveIdentity(folder_, identity, kPassPhrase).ok());
  const auto loaded = LoadIdentity(folder_, kPassPhrase);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->public_identity().fingerprint(), identity.public_identity().fingerprint());
  const OaepResult result = loaded->Decrypt(
      "label", identity.public_identity().rsa().EncryptOaep("label", "plaintext").value());
  EXPECT_TRUE(result.ok);
  EXPECT_TRUE(identity.public_identity()
                  .VerifySignature("context", "message", loaded->Sign("context", "message"))
                  .ok());
  EXPECT_EQ(FilesInFolder(), (std::set<std::string>{"ed25519.pem", "rsa.pem"}));
}

TEST_F(KeyFileTest, FilesAreTheOwnersAloneAndEncrypted) {
  const mode_t before = umask(0);
  ASSERT_TRUE(SaveIdentity(folder_, TestIdentity(0), kPassPhrase).ok());
  umask(before);
  for (const std::string& path : {rsa_path_, ed25519_path_}) {
    struct stat info;
    ASSERT_EQ(stat(path.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777, 0600u);
    EXPECT_EQ(Read(path).rfind("-----BEGIN ENCRYPTED PRIVATE KEY-----", 0), 0u);
  }
}

TEST_F(KeyFileTest, FilesAreOrdinaryPkcs8ForOtherPrograms) {
  ASSERT_TRUE(SaveIdentity(folder_, TestIdentity(0), kPassPhrase).ok());
  for (const auto& [path, type] :
       {std::make_pair(rsa_path_, "RSA"), std::make_pair(ed25519_path_, "ED25519")}) {
    const std::string pem = Read(path);
    BIO* bio = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
    EVP_PKEY* key = PEM_read_bio_PrivateKey(bio, nullptr, nullptr, const_cast<char*>(kPassPhrase));
    ASSERT_NE(key, nullptr);
    EXPECT_EQ(EVP_PKEY_is_a(key, type), 1);
    EVP_PKEY_free(key);
    BIO_free(bio);
  }
}

TEST_F(KeyFileTest, RefusesAWrongPassPhrase) {
  ASSERT_TRUE(SaveIdentity(folder_, TestIdentity(0), kPassPhrase).ok());
  EXPECT_EQ(LoadIdentity(folder_, "wrong").status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(LoadIdentity(folder_, std::string(kPassPhrase) + " ").status().code(),
            absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(LoadIdentity(folder_, "").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(KeyFileTest, RefusesAnEmptyOrEndlessPassPhrase) {
  EXPECT_EQ(SaveIdentity(folder_, TestIdentity(0), "").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(SaveIdentity(folder_, TestIdentity(0), std::string(1025, 'p')).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(FilesInFolder().empty());
}

TEST_F(KeyFileTest, NeverOverwrites) {
  ASSERT_TRUE(SaveIdentity(folder_, TestIdentity(0), kPassPhrase).ok());
  const std::string rsa = Read(rsa_path_);
  const std::string ed25519 = Read(ed25519_path_);
  EXPECT_EQ(SaveIdentity(folder_, TestIdentity(1), kPassPhrase).code(),
            absl::StatusCode::kAlreadyExists);
  ASSERT_EQ(unlink(rsa_path_.c_str()), 0);
  EXPECT_EQ(SaveIdentity(folder_, TestIdentity(1), kPassPhrase).code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(Read(ed25519_path_), ed25519);
  EXPECT_EQ(FilesInFolder(), std::set<std::string>{"ed25519.pem"});
}

TEST_F(KeyFileTest, NeedsTheFolderAndBothFiles) {
  EXPECT_EQ(SaveIdentity(folder_ + "/none", TestIdentity(0), kPassPhrase).code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(LoadIdentity(folder_, kPassPhrase).status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(SaveIdentity(folder_, TestIdentity(0), kPassPhrase).ok());
  ASSERT_EQ(unlink(ed25519_path_.c_str()), 0);
  EXPECT_EQ(LoadIdentity(folder_, kPassPhrase).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(KeyFileTest, RefusesAFileThatOthersMayRead) {
  ASSERT_TRUE(SaveIdentity(folder_, TestIdentity(0), kPassPhrase).ok());
  for (mode_t mode : {0644, 0640, 0602}) {
    ASSERT_EQ(chmod(rsa_path_.c_str(), mode), 0);
    EXPECT_EQ(LoadIdentity(folder_, kPassPhrase).status().code(),
              absl::StatusCode::kFailedPrecondition);
  }
}

TEST_F(KeyFileTest, RefusesWhatIsNoSuchKey) {
  ASSERT_TRUE(SaveIdentity(folder_, TestIdentity(0), kPassPhrase).ok());
  const std::string rsa = Read(rsa_path_);
  const std::string ed25519 = Read(ed25519_path_);

  Write(rsa_path_, ed25519);
  EXPECT_EQ(LoadIdentity(folder_, kPassPhrase).status().code(), absl::StatusCode::kInvalidArgument);
  Write(rsa_path_, rsa);
  Write(ed25519_path_, rsa);
  EXPECT_EQ(LoadIdentity(folder_, kPassPhrase).status().code(), absl::StatusCode::kInvalidArgument);
  Write(ed25519_path_, ed25519);
  for (const std::string& content :
       {std::string(), std::string("text"), rsa.substr(0, rsa.size() / 2), std::string(20000, 'x'),
        std::string("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")}) {
    Write(rsa_path_, content);
    EXPECT_EQ(LoadIdentity(folder_, kPassPhrase).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
  Write(rsa_path_, rsa);
  EXPECT_TRUE(LoadIdentity(folder_, kPassPhrase).ok());
}

TEST_F(KeyFileTest, KeepsOneKeyOfAnotherPurpose) {
  const std::string path = folder_ + "/tsa.pem";
  const SecretBytes key = TestIdentity(0).rsa().Pkcs8Der();
  ASSERT_TRUE(SavePrivateKey(path, key.view(), kPassPhrase).ok());
  const auto loaded = LoadPrivateKey(path, kPassPhrase);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_TRUE(loaded->view() == key.view());
  struct stat info;
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0600u);
  EXPECT_EQ(Read(path).rfind("-----BEGIN ENCRYPTED PRIVATE KEY-----", 0), 0u);

  EXPECT_EQ(LoadPrivateKey(path, "wrong").status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(LoadPrivateKey(folder_ + "/none.pem", kPassPhrase).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(SavePrivateKey(path, key.view(), kPassPhrase).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(SavePrivateKey(folder_ + "/x.pem", "no key", kPassPhrase).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(SavePrivateKey(folder_ + "/x.pem", key.view(), "").code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(FilesInFolder(), std::set<std::string>{"tsa.pem"});
  ASSERT_EQ(chmod(path.c_str(), 0644), 0);
  EXPECT_EQ(LoadPrivateKey(path, kPassPhrase).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace blindcart::crypto
