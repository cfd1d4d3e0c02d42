#include "player/program_image.h"

#include "player/installed_files.h"
#include "vmm/base/unique_fd.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <span>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

namespace player {

base::Result<std::string> output_of(const char* program, const std::vector<std::string>& arguments,
                                    const std::optional<std::string>& variable) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0)
        return base::fail(std::strerror(errno));
    base::UniqueFd heard{ends[0]}, said{ends[1]};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, said.get(), STDOUT_FILENO);
    std::vector<std::string> words{program};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> pointers;
    for (std::string& word : words)
        pointers.push_back(word.data());
    pointers.push_back(nullptr);
    std::string set = variable.value_or("");
    std::array<char*, 2> only{set.data(), nullptr};
    pid_t child = 0;
    const int failed =
        ::posix_spawnp(&child, program, &actions, nullptr, pointers.data(), variable ? only.data() : environ);
    posix_spawn_file_actions_destroy(&actions);
    said.reset();
    if (failed != 0)
        return base::fail(fmt::format("cannot run {}: {}", program, std::strerror(failed)));
    std::string text;
    std::array<char, 8192> buffer{};
    for (ssize_t n = 0; (n = ::read(heard.get(), buffer.data(), buffer.size())) != 0;) {
        if (n > 0)
            text.append(buffer.data(), static_cast<size_t>(n));
        else if (errno != EINTR)
            break;
    }
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return base::fail(fmt::format("{} {} failed", program, fmt::join(arguments, " ")));
    return text;
}

namespace {

template <class T> T* part(std::string& image, uint64_t offset, uint64_t count = 1) {
    if (offset > image.size() || count > (image.size() - offset) / sizeof(T))
        return nullptr;
    return reinterpret_cast<T*>(image.data() + offset);
}

} // namespace

base::Result<std::map<std::string, std::string>> needed_libraries(const std::string& file) {
    // ld.so(8): lines such as "\tlibz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x00007f...)".
    const std::string text =
        TRY(output_of("/lib64/ld-linux-x86-64.so.2", {file}, "LD_TRACE_LOADED_OBJECTS=1"));
    std::map<std::string, std::string> libraries;
    constexpr std::string_view kArrow = " => ";
    for (size_t begin = 0; begin < text.size();) {
        const size_t end = std::min(text.find('\n', begin), text.size());
        const std::string_view line(text.data() + begin, end - begin);
        begin = end + 1;
        const size_t arrow = line.find(kArrow), address = line.rfind(" (");
        if (arrow == std::string_view::npos)
            continue; // the linker itself, the kernel's
        const std::string name(
            line.substr(line.find_first_not_of('\t'), arrow - line.find_first_not_of('\t')));
        if (address == std::string_view::npos)
            return base::fail(fmt::format("{} needs {}, which this system lacks", file, name));
        libraries[name] = line.substr(arrow + kArrow.size(), address - arrow - kArrow.size());
    }
    return libraries;
}

// System V ABI (gABI 4.1), "Program Header" and "Dynamic Section". Linkers leave a few empty entries at the
// end of the dynamic section (ld(1), -z spare-dynamic-tags), and an entry's string may be anywhere in the
// image: one of each is all that it takes, and nothing has to move. DT_RPATH, not DT_RUNPATH: it holds for
// the libraries' own libraries too (ld.so(8)).
base::Result<void> set_run_path(std::string& image) {
    const auto fail = [] {
        return base::fail("cannot make a portable copy of this program: it was linked in another way");
    };
    const auto* header = part<Elf64_Ehdr>(image, 0);
    if (header == nullptr || std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
        header->e_ident[EI_CLASS] != ELFCLASS64)
        return fail();
    const auto* segments = part<Elf64_Phdr>(image, header->e_phoff, header->e_phnum);
    // With what ends it.
    const size_t text =
        image.find(std::string_view(encore_portable_run_path.data(), encore_portable_run_path.size()));
    if (segments == nullptr || text == std::string::npos)
        return fail();
    uint64_t address = 0;
    Elf64_Dyn* dynamic = nullptr;
    size_t count = 0;
    for (const Elf64_Phdr& segment : std::span(segments, header->e_phnum)) {
        if (segment.p_type == PT_LOAD && text >= segment.p_offset &&
            text - segment.p_offset < segment.p_filesz)
            address = text - segment.p_offset + segment.p_vaddr;
        if (segment.p_type == PT_DYNAMIC) {
            count = segment.p_filesz / sizeof(Elf64_Dyn);
            dynamic = part<Elf64_Dyn>(image, segment.p_offset, count);
        }
    }
    if (address == 0 || dynamic == nullptr)
        return fail();
    uint64_t strings = 0;
    for (size_t i = 0; i + 1 < count; ++i) { // the last stays what ends the list
        if (dynamic[i].d_tag == DT_STRTAB)
            strings = dynamic[i].d_un.d_ptr;
        if (dynamic[i].d_tag == DT_RPATH)
            return {}; // a portable folder's program
        if (dynamic[i].d_tag != DT_NULL)
            continue;
        if (strings == 0)
            return fail();
        dynamic[i].d_tag = DT_RPATH;
        dynamic[i].d_un.d_val = address - strings;
        return {};
    }
    return fail();
}

} // namespace player
