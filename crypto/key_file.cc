#include "crypto/key_file.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/x509.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "crypto/ed25519.h"
#include "crypto/encoding.h"
#include "crypto/file_descriptor.h"
#include "crypto/internal/library.h"
#include "crypto/internal/openssl_ptr.h"
#include "crypto/random.h"
#include "crypto/rsa.h"
#include "crypto/secret_bytes.h"

namespace blindcart::crypto {
namespace {

using internal::BioPtr;
using internal::CheckLibrary;

// OWASP's figures for 16 MiB; OpenSSL refuses to open anything that takes more than 32 MiB.
constexpr uint64_t kScryptN = 1 << 14;
constexpr uint64_t kScryptR = 8;
constexpr uint64_t kScryptP = 5;
constexpr int kScryptSaltBytes = 16;

constexpr size_t kMaxPassPhraseBytes = 1024;
constexpr size_t kMaxKeyFileBytes = 16 * 1024;
constexpr mode_t kOwnerOnly = 0600;
constexpr mode_t kOthers = 0077;

struct Pkcs8Deleter {
  void operator()(PKCS8_PRIV_KEY_INFO* info) const { PKCS8_PRIV_KEY_INFO_free(info); }
};
using Pkcs8Ptr = std::unique_ptr<PKCS8_PRIV_KEY_INFO, Pkcs8Deleter>;

struct EncryptedKeyDeleter {
  void operator()(X509_SIG* key) const { X509_SIG_free(key); }
};
using EncryptedKeyPtr = std::unique_ptr<X509_SIG, EncryptedKeyDeleter>;

absl::Status CheckPassPhrase(absl::string_view pass_phrase) {
  if (pass_phrase.empty() || pass_phrase.size() > kMaxPassPhraseBytes) {
    return absl::InvalidArgumentError("a pass phrase has between 1 and 1024 bytes");
  }
  return absl::OkStatus();
}

std::string PathOf(const std::string& folder, absl::string_view name) {
  return absl::StrCat(folder, "/", name);
}

Pkcs8Ptr ParsePkcs8(absl::string_view der) {
  const uint8_t* in = internal::AsBytes(der);
  return Pkcs8Ptr(d2i_PKCS8_PRIV_KEY_INFO(nullptr, &in, static_cast<long>(der.size())));
}

// The PEM text of `key` under the pass phrase.
std::string Encrypt(PKCS8_PRIV_KEY_INFO* key, absl::string_view pass_phrase) {
  X509_ALGOR* algorithm = PKCS5_pbe2_set_scrypt(EVP_aes_256_cbc(), nullptr, kScryptSaltBytes,
                                                nullptr, kScryptN, kScryptR, kScryptP);
  CheckLibrary(algorithm != nullptr, "PKCS5_pbe2_set_scrypt");
  // Takes the algorithm over.
  const EncryptedKeyPtr encrypted(
      PKCS8_set0_pbe(pass_phrase.data(), static_cast<int>(pass_phrase.size()), key, algorithm));
  const BioPtr bio(BIO_new(BIO_s_mem()));
  CheckLibrary(encrypted != nullptr && bio != nullptr &&
                   PEM_write_bio_PKCS8(bio.get(), encrypted.get()) == 1,
               "PKCS8_set0_pbe");
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<size_t>(size));
}

absl::StatusOr<Pkcs8Ptr> Decrypt(absl::string_view pem, absl::string_view pass_phrase) {
  const BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  CheckLibrary(bio != nullptr, "BIO_new_mem_buf");
  const EncryptedKeyPtr encrypted(PEM_read_bio_PKCS8(bio.get(), nullptr, nullptr, nullptr));
  if (encrypted == nullptr) {
    ERR_clear_error();
    return absl::InvalidArgumentError("not an encrypted private key");
  }
  Pkcs8Ptr key(
      PKCS8_decrypt(encrypted.get(), pass_phrase.data(), static_cast<int>(pass_phrase.size())));
  ERR_clear_error();
  if (key == nullptr) {
    return absl::PermissionDeniedError("wrong pass phrase, or a damaged key file");
  }
  return key;
}

absl::StatusOr<SecretBytes> ReadKeyFile(const std::string& path) {
  const FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return absl::ErrnoToStatus(errno, "key file cannot be opened");
  struct stat info;
  if (fstat(file.get(), &info) != 0) return absl::ErrnoToStatus(errno, "key file");
  if (!S_ISREG(info.st_mode) || info.st_size == 0 ||
      info.st_size > static_cast<off_t>(kMaxKeyFileBytes)) {
    return absl::InvalidArgumentError("key file is no key file");
  }
  if ((info.st_mode & kOthers) != 0) {
    return absl::FailedPreconditionError("key file is open to others than its owner (chmod 600)");
  }
  SecretBytes content(static_cast<size_t>(info.st_size));
  size_t done = 0;
  while (done < content.size()) {
    const ssize_t got = read(file.get(), content.data() + done, content.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return absl::ErrnoToStatus(errno, "key file cannot be read");
    if (got == 0) return absl::InvalidArgumentError("key file shrank while being read");
    done += static_cast<size_t>(got);
  }
  return content;
}

absl::Status WriteAll(int fd, absl::string_view content) {
  while (!content.empty()) {
    const ssize_t written = write(fd, content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return absl::ErrnoToStatus(errno, "key file cannot be written");
    content.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

// A file that removes itself unless it has been moved into its place.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string path) : path_(std::move(path)) {}
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    if (created_) unlink(path_.c_str());
  }

  absl::Status Write(absl::string_view content) {
    const FileDescriptor file(
        open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, kOwnerOnly));
    if (file.get() < 0) return absl::ErrnoToStatus(errno, "key file cannot be created");
    created_ = true;
    const absl::Status written = WriteAll(file.get(), content);
    if (!written.ok()) return written;
    if (fsync(file.get()) != 0) return absl::ErrnoToStatus(errno, "key file cannot be synced");
    return absl::OkStatus();
  }

  // Fails with AlreadyExists instead of replacing a file, also one that came in between.
  absl::Status MoveTo(const std::string& path) {
    if (renameat2(AT_FDCWD, path_.c_str(), AT_FDCWD, path.c_str(), RENAME_NOREPLACE) != 0) {
      return absl::ErrnoToStatus(errno, "key file cannot be put in its place");
    }
    created_ = false;
    return absl::OkStatus();
  }

 private:
  std::string path_;
  bool created_ = false;
};

std::string FolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::string TemporarySuffix() {
  return absl::StrCat(".", HexEncode(SystemRandom().Bytes(8)), ".tmp");
}

absl::Status SyncFolder(const std::string& folder) {
  const FileDescriptor handle(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (handle.get() < 0 || fsync(handle.get()) != 0) {
    return absl::ErrnoToStatus(errno, "key folder cannot be synced");
  }
  return absl::OkStatus();
}

Pkcs8Ptr RsaToPkcs8(const RsaPrivateKey& key) { return ParsePkcs8(key.Pkcs8Der().view()); }

Pkcs8Ptr Ed25519ToPkcs8(const Ed25519PrivateKey& key) {
  const internal::PkeyPtr pkey(EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr,
                                                            key.seed().data(), key.seed().size()));
  CheckLibrary(pkey != nullptr, "EVP_PKEY_new_raw_private_key");
  return Pkcs8Ptr(EVP_PKEY2PKCS8(pkey.get()));
}

SecretBytes ToDer(PKCS8_PRIV_KEY_INFO* info) {
  const int size = i2d_PKCS8_PRIV_KEY_INFO(info, nullptr);
  CheckLibrary(size > 0, "i2d_PKCS8_PRIV_KEY_INFO");
  SecretBytes der(static_cast<size_t>(size));
  uint8_t* out = der.data();
  CheckLibrary(i2d_PKCS8_PRIV_KEY_INFO(info, &out) == size, "i2d_PKCS8_PRIV_KEY_INFO");
  return der;
}

absl::StatusOr<Ed25519PrivateKey> Ed25519FromPkcs8(const PKCS8_PRIV_KEY_INFO* info) {
  const internal::PkeyPtr pkey(EVP_PKCS82PKEY(info));
  SecretBytes seed(kEd25519SeedBytes);
  size_t size = seed.size();
  const bool is_ed25519 = pkey != nullptr && EVP_PKEY_is_a(pkey.get(), "ED25519") == 1 &&
                          EVP_PKEY_get_raw_private_key(pkey.get(), seed.data(), &size) == 1;
  ERR_clear_error();
  if (!is_ed25519) return absl::InvalidArgumentError("not an Ed25519 private key");
  return Ed25519PrivateKey::FromSeed(seed.view());
}

}  // namespace

absl::Status SaveIdentity(const std::string& folder, const Identity& identity,
                          absl::string_view pass_phrase) {
  absl::Status status = CheckPassPhrase(pass_phrase);
  if (!status.ok()) return status;
  const std::string rsa_path = PathOf(folder, kRsaKeyFileName);
  const std::string ed25519_path = PathOf(folder, kEd25519KeyFileName);
  // Looked at before anything is written, so that no half of a pair is put beside an old half.
  for (const std::string& path : {rsa_path, ed25519_path}) {
    struct stat info;
    if (lstat(path.c_str(), &info) == 0) return absl::AlreadyExistsError("key file exists");
  }

  const std::string suffix = TemporarySuffix();
  TemporaryFile rsa_file(rsa_path + suffix);
  TemporaryFile ed25519_file(ed25519_path + suffix);
  status = rsa_file.Write(Encrypt(RsaToPkcs8(identity.rsa()).get(), pass_phrase));
  if (!status.ok()) return status;
  status = ed25519_file.Write(Encrypt(Ed25519ToPkcs8(identity.ed25519()).get(), pass_phrase));
  if (!status.ok()) return status;
  status = rsa_file.MoveTo(rsa_path);
  if (!status.ok()) return status;
  status = ed25519_file.MoveTo(ed25519_path);
  if (!status.ok()) return status;
  return SyncFolder(folder);
}

absl::StatusOr<Identity> LoadIdentity(const std::string& folder, absl::string_view pass_phrase) {
  const absl::Status status = CheckPassPhrase(pass_phrase);
  if (!status.ok()) return status;
  absl::StatusOr<SecretBytes> rsa_pem = ReadKeyFile(PathOf(folder, kRsaKeyFileName));
  if (!rsa_pem.ok()) return rsa_pem.status();
  absl::StatusOr<SecretBytes> ed25519_pem = ReadKeyFile(PathOf(folder, kEd25519KeyFileName));
  if (!ed25519_pem.ok()) return ed25519_pem.status();

  absl::StatusOr<Pkcs8Ptr> rsa_info = Decrypt(rsa_pem->view(), pass_phrase);
  if (!rsa_info.ok()) return rsa_info.status();
  absl::StatusOr<RsaPrivateKey> rsa = RsaPrivateKey::FromPkcs8Der(ToDer(rsa_info->get()).view());
  if (!rsa.ok()) return rsa.status();

  absl::StatusOr<Pkcs8Ptr> ed25519_info = Decrypt(ed25519_pem->view(), pass_phrase);
  if (!ed25519_info.ok()) return ed25519_info.status();
  absl::StatusOr<Ed25519PrivateKey> ed25519 = Ed25519FromPkcs8(ed25519_info->get());
  if (!ed25519.ok()) return ed25519.status();
  return Identity::Create(*std::move(rsa), *std::move(ed25519));
}

absl::Status SavePrivateKey(const std::string& path, absl::string_view pkcs8_der,
                            absl::string_view pass_phrase) {
  absl::Status status = CheckPassPhrase(pass_phrase);
  if (!status.ok()) return status;
  const Pkcs8Ptr key = ParsePkcs8(pkcs8_der);
  ERR_clear_error();
  if (key == nullptr) return absl::InvalidArgumentError("not a private key");
  struct stat info;
  if (lstat(path.c_str(), &info) == 0) return absl::AlreadyExistsError("key file exists");
  TemporaryFile file(path + TemporarySuffix());
  status = file.Write(Encrypt(key.get(), pass_phrase));
  if (!status.ok()) return status;
  status = file.MoveTo(path);
  if (!status.ok()) return status;
  return SyncFolder(FolderOf(path));
}

absl::StatusOr<SecretBytes> LoadPrivateKey(const std::string& path, absl::string_view pass_phrase) {
  const absl::Status status = CheckPassPhrase(pass_phrase);
  if (!status.ok()) return status;
  absl::StatusOr<SecretBytes> pem = ReadKeyFile(path);
  if (!pem.ok()) return pem.status();
  absl::StatusOr<Pkcs8Ptr> info = Decrypt(pem->view(), pass_phrase);
  if (!info.ok()) return info.status();
  return ToDer(info->get());
}

}  // namespace blindcart::crypto
