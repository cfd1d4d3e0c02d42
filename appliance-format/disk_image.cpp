#include "appliance-format/disk_image.h"

#include "appliance-format/format.h"
#include "appliance-format/tar_layout.h"

#include <algorithm>
#include <archive.h>
#include <archive_entry.h>
#include <array>
#include <cerrno>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <libnbd.h>
#include <optional>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <type_traits>
#include <unistd.h>

namespace appliance_format {

namespace {

constexpr size_t kMaxMembers = 1000;
constexpr size_t kMaxDescriptor = 1 << 20;
constexpr uint64_t kMapAhead = 1u << 30; // how far one question about holes looks

struct ArchiveDeleter {
    void operator()(archive* a) const { archive_read_free(a); }
};

// libnbd brings TLS and XML along, 10 ms of every start of a program linked to it: loaded when an image wants
// it.
struct Nbd {
    decltype(&nbd_create) create = nullptr;
    decltype(&nbd_close) close = nullptr;
    decltype(&nbd_get_error) get_error = nullptr;
    decltype(&nbd_add_meta_context) add_meta_context = nullptr;
    decltype(&nbd_connect_systemd_socket_activation) connect_systemd_socket_activation = nullptr;
    decltype(&nbd_get_size) get_size = nullptr;
    decltype(&nbd_can_meta_context) can_meta_context = nullptr;
    decltype(&nbd_pread) pread = nullptr;
    decltype(&nbd_block_status) block_status = nullptr;
    bool loaded = false;

    Nbd() {
        void* library = ::dlopen("libnbd.so.0", RTLD_NOW | RTLD_NODELETE);
        if (library == nullptr)
            return;
        loaded = true;
        const auto find = [&](auto& function, const char* name) {
            function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(::dlsym(library, name));
            loaded = loaded && function != nullptr;
        };
        find(create, "nbd_create");
        find(close, "nbd_close");
        find(get_error, "nbd_get_error");
        find(add_meta_context, "nbd_add_meta_context");
        find(connect_systemd_socket_activation, "nbd_connect_systemd_socket_activation");
        find(get_size, "nbd_get_size");
        find(can_meta_context, "nbd_can_meta_context");
        find(pread, "nbd_pread");
        find(block_status, "nbd_block_status");
    }
};

const Nbd& nbd() {
    static const Nbd library;
    return library;
}

struct HandleDeleter {
    void operator()(nbd_handle* handle) const { nbd().close(handle); }
};

// A part of a file, for looking at what it is.
class Part {
  public:
    static base::Result<Part> open(const std::string& path, uint64_t offset, std::optional<uint64_t> size) {
        Part part;
        part.fd_ = base::UniqueFd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
        struct stat info;
        if (!part.fd_.valid() || ::fstat(part.fd_.get(), &info) != 0)
            return base::fail(fmt::format("cannot open {}: {}", path, std::strerror(errno)), kIo);
        if (!S_ISREG(info.st_mode))
            return base::fail(fmt::format("{} is not a file", path), kIo);
        part.offset_ = offset;
        part.size_ = size.value_or(static_cast<uint64_t>(info.st_size));
        return part;
    }
    [[nodiscard]] uint64_t size() const { return size_; }
    // Empty when it is shorter.
    [[nodiscard]] std::string read(uint64_t at, size_t length) const {
        std::string bytes(length, '\0');
        if (at > size_ || length > size_ - at ||
            !read_exactly(fd_.get(), offset_ + at, reinterpret_cast<uint8_t*>(bytes.data()), length))
            return {};
        return bytes;
    }
    [[nodiscard]] bool holds(uint64_t at, std::string_view magic) const {
        return read(at, magic.size()) == magic;
    }
    template <class T> [[nodiscard]] T little(uint64_t at) const {
        T value = 0;
        if (const std::string bytes = read(at, sizeof value); !bytes.empty())
            std::memcpy(&value, bytes.data(), sizeof value);
        return value;
    }
    [[nodiscard]] uint64_t big64(uint64_t at) const { return __builtin_bswap64(little<uint64_t>(at)); }

  private:
    base::UniqueFd fd_;
    uint64_t offset_ = 0, size_ = 0;
};

constexpr const char* kFlatten = "flatten it first with: qemu-img convert -O qcow2";

// The driver's name for what the image is; an error for what names other files.
base::Result<std::string> format_of(const Part& image) {
    constexpr uint64_t kSector = 512;
    if (image.holds(0, "QFI\xfb")) { // docs/interop/qcow2.txt: backing file name, incompatible feature 2
        constexpr uint64_t kBackingOffset = 8, kFeatures = 72, kExternalData = 1u << 2;
        if (image.big64(kBackingOffset) != 0 || (image.big64(kFeatures) & kExternalData) != 0)
            return base::fail(fmt::format("is a qcow2 image that needs another file; {}", kFlatten), kIo);
        return "qcow2";
    }
    if (image.holds(0, "KDMV")) { // VMware "Virtual Disk Format 5.0", sparse extent header
        const auto capacity = image.little<uint64_t>(12), where = image.little<uint64_t>(28),
                   length = image.little<uint64_t>(36);
        const std::string text = where < image.size() && length * kSector <= kMaxDescriptor
                                     ? image.read(where * kSector, length * kSector)
                                     : std::string();
        const bool alone = text.find("\"monolithicSparse\"") != std::string::npos ||
                           text.find("\"streamOptimized\"") != std::string::npos;
        if (capacity == 0 || !alone || text.find("parentFileNameHint") != std::string::npos)
            return base::fail(fmt::format("is a VMDK image that needs another file; {}", kFlatten), kIo);
        return "vmdk";
    }
    if (image.holds(0, "# Disk DescriptorFile"))
        return base::fail(fmt::format("is a VMDK description whose disk is in other files; {}", kFlatten),
                          kIo);
    if (image.holds(64, "\x7f\x10\xda\xbe"))
        return "vdi";
    if (image.holds(0, "conectix") ||
        (image.size() >= kSector && image.holds(image.size() - kSector, "conectix")))
        return "vpc";
    if (image.holds(0, "vhdxfile"))
        return "vhdx";
    return "raw";
}

class NbdSource final : public BlobSource {
  public:
    static base::Result<std::unique_ptr<BlobSource>> start(const std::string& options) {
        if (!nbd().loaded)
            return base::fail("libnbd, which reads it, is missing; install the package libnbd0", kIo);
        auto source = std::make_unique<NbdSource>();
        source->handle_.reset(nbd().create());
        nbd_handle* handle = source->handle_.get();
        if (handle == nullptr)
            return base::fail(nbd().get_error(), kIo);
        // What qemu-nbd has to say is about its own options; errors here are one line.
        std::array<const char*, 8> command{"sh",           "-c",           "exec \"$@\" 2>/dev/null",
                                           "sh",           "qemu-nbd",     "--read-only",
                                           "--image-opts", options.c_str()};
        std::array<char*, 9> words{};
        std::transform(command.begin(), command.end(), words.begin(),
                       [](const char* word) { return const_cast<char*>(word); });
        if (nbd().add_meta_context(handle, LIBNBD_CONTEXT_BASE_ALLOCATION) != 0 ||
            nbd().connect_systemd_socket_activation(handle, words.data()) != 0)
            return base::fail("qemu-nbd cannot read it (is qemu-utils installed? what says: qemu-img check)",
                              kIo);
        const int64_t size = nbd().get_size(handle);
        if (size < 0)
            return base::fail(nbd().get_error(), kIo);
        source->size_ = static_cast<uint64_t>(size);
        source->holes_ = nbd().can_meta_context(handle, LIBNBD_CONTEXT_BASE_ALLOCATION) == 1;
        return source;
    }
    [[nodiscard]] uint64_t size() const override { return size_; }
    base::Result<> read(uint64_t offset, std::span<uint8_t> out) override {
        if (nbd().pread(handle_.get(), out.data(), out.size(), offset, 0) != 0)
            return base::fail(
                fmt::format("the disk image cannot be read at byte {}: {}", offset, nbd().get_error()), kIo);
        return {};
    }
    uint64_t next_data(uint64_t offset) override {
        if (!holes_ || offset < hole_from_ || offset >= hole_until_) {
            if (!holes_ || (offset >= data_from_ && offset < data_until_) || !ask(offset))
                return offset;
        }
        return offset >= hole_from_ && offset < hole_until_ ? hole_until_ : offset;
    }

  private:
    // NBD protocol, "base:allocation": pairs of a length and flags, of which bit 1 says that it reads as
    // zero. The first run of either kind from `offset` on.
    bool ask(uint64_t offset) {
        struct Answer {
            uint64_t length = 0;
            bool zero = false, closed = false;
        } answer;
        nbd_extent_callback callback{};
        callback.user_data = &answer;
        callback.callback = [](void* data, const char*, uint64_t, uint32_t* entries, size_t count, int*) {
            constexpr uint32_t kZero = 2;
            auto& to = *static_cast<Answer*>(data);
            for (size_t i = 0; i + 1 < count && !to.closed; i += 2) {
                const bool zero = (entries[i + 1] & kZero) != 0;
                to.closed = to.length != 0 && zero != to.zero;
                if (to.closed)
                    break;
                to.zero = zero;
                to.length += entries[i];
            }
            return 0;
        };
        if (nbd().block_status(handle_.get(), std::min(kMapAhead, size_ - offset), offset, callback, 0) !=
                0 ||
            answer.length == 0) {
            holes_ = false; // read everything
            return false;
        }
        const uint64_t until = offset + std::min(answer.length, size_ - offset);
        (answer.zero ? hole_from_ : data_from_) = offset;
        (answer.zero ? hole_until_ : data_until_) = until;
        return true;
    }

    std::unique_ptr<nbd_handle, HandleDeleter> handle_;
    uint64_t size_ = 0;
    bool holes_ = false;
    uint64_t hole_from_ = 0, hole_until_ = 0, data_from_ = 0, data_until_ = 0;
};

// Whether the image's own tables hold together. Without this, one that was cut short would read as zeros.
base::Result<> check_tables(const std::string& options) {
    constexpr int kNoCheck = 63, kLeaks = 3; // qemu-img(1), check: the format has none; room is wasted
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
        posix_spawn_file_actions_addopen(&actions, stream, "/dev/null", O_RDWR, 0);
    std::array<std::string, 5> words{"qemu-img", "check", "-q", "--image-opts", options};
    std::array<char*, 6> command{};
    std::transform(words.begin(), words.end(), command.begin(),
                   [](std::string& word) { return word.data(); });
    pid_t child = 0;
    const int started = ::posix_spawnp(&child, command[0], &actions, nullptr, command.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    if (started != 0)
        return base::fail("qemu-img, which checks it, is missing; install the package qemu-utils", kIo);
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    if (code != 0 && code != kNoCheck && code != kLeaks)
        return base::fail("is cut short or damaged; qemu-img check says how", kIo);
    return {};
}

// In the options of qemu's block drivers a comma is written twice.
std::string option_text(const std::string& text) {
    std::string out;
    for (const char c : text)
        out += c == ',' ? ",," : std::string(1, c);
    return out;
}

} // namespace

base::Result<std::vector<ArchiveMember>> list_archive(const std::string& path) {
    const auto bad = [&](const char* why) {
        return base::fail(
            fmt::format("{} cannot be read as an OVA: {}", path, why ? why : "not a tar archive"), kIo);
    };
    std::unique_ptr<archive, ArchiveDeleter> in{archive_read_new()};
    if (in == nullptr || archive_read_support_format_tar(in.get()) != ARCHIVE_OK ||
        archive_read_open_filename(in.get(), path.c_str(), 64 << 10) != ARCHIVE_OK)
        return bad(in ? archive_error_string(in.get()) : nullptr);
    std::vector<ArchiveMember> members;
    archive_entry* entry = nullptr;
    int result = ARCHIVE_OK;
    while ((result = archive_read_next_header(in.get(), &entry)) == ARCHIVE_OK) {
        if (archive_entry_filetype(entry) != AE_IFREG || archive_entry_pathname(entry) == nullptr ||
            archive_entry_sparse_count(entry) != 0)
            continue;
        if (members.size() == kMaxMembers)
            return bad("too many files in it");
        const auto offset = archive_filter_bytes(in.get(), 0), size = archive_entry_size(entry);
        if (offset < 0 || size < 0)
            return bad(nullptr);
        members.push_back(
            {archive_entry_pathname(entry), static_cast<uint64_t>(offset), static_cast<uint64_t>(size)});
    }
    if (result != ARCHIVE_EOF)
        return bad(archive_error_string(in.get()));
    return members;
}

base::Result<std::unique_ptr<BlobSource>> open_disk_image(const ImagePlace& place) {
    ArchiveMember at;
    std::optional<uint64_t> size;
    if (!place.member.empty()) {
        const auto members = TRY(list_archive(place.path));
        const auto found = std::ranges::find(members, place.member, &ArchiveMember::name);
        if (found == members.end())
            return base::fail(fmt::format("{}: there is no {} in it", place.path, place.member), kIo);
        at = *found;
        size = at.size;
    }
    const std::string name = place.member.empty() ? place.path : place.path + ": " + place.member;
    const auto located = [&](const base::Error& error) {
        return base::fail(fmt::format("{} {}", name, error.message), error.code);
    };
    const Part image = TRY(Part::open(place.path, at.offset, size));
    const auto format = format_of(image);
    if (!format)
        return located(format.error());
    if (*format == "raw" && !size)
        return std::unique_ptr<BlobSource>(TRY(FileSource::open(place.path)));
    const std::string path = option_text(place.path[0] == '/' ? place.path : "./" + place.path);
    const std::string options =
        size ? fmt::format("driver={},file.driver=raw,file.offset={},file.size={},file.file.driver=file,"
                           "file.file.filename={}",
                           *format, at.offset, *size, path)
             : fmt::format("driver={},file.driver=file,file.filename={}", *format, path);
    const auto failed = [&](const base::Error& error) {
        return base::fail(fmt::format("{} (a {} image): {}", name, *format, error.message), kIo);
    };
    if (const auto whole = check_tables(options); !whole)
        return failed(whole.error());
    auto source = NbdSource::start(options);
    if (!source)
        return failed(source.error());
    return source;
}

} // namespace appliance_format
