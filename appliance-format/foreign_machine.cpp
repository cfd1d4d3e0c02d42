#include "appliance-format/foreign_machine.h"

#include "appliance-format/format.h"
#include "appliance-format/json_text.h"
#include "appliance-format/output_file.h"
#include "appliance-format/ovf.h"
#include "appliance-format/ovf_manifest.h"
#include "appliance-format/recipe.h"
#include "appliance-format/safe_path.h"
#include "signing/file_digest.h"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <optional>
#include <unistd.h>

namespace appliance_format {

namespace {

constexpr size_t kMostText = 1 << 20; // of descriptions, manifests, certificates

tl::unexpected<base::Error> about(const std::string& source, const base::Error& error) {
    return base::fail(fmt::format("{} {}", source, error.message), error.code);
}

std::string without_suffix(const std::string& name) { return name.substr(0, name.rfind('.')); }

// The files of a package: members of an archive, or what lies in a folder.
class Package {
  public:
    static base::Result<Package> archive(ImageShelf& shelf, const std::string& path) {
        Package package(shelf, path, true);
        for (ArchiveMember& member : TRY(shelf.members(path)))
            package.names_.push_back(std::move(member.name));
        return package;
    }
    static Package folder(ImageShelf& shelf, const std::string& path) { return {shelf, path, false}; }

    // Leaves what is not in this folder of the archive ("folder/").
    void enter(const std::string& folder) {
        std::erase_if(names_, [&](const std::string& name) { return !name.starts_with(folder); });
        for (std::string& name : names_)
            name.erase(0, folder.size());
        inside_ = folder;
    }
    [[nodiscard]] ImagePlace place(const std::string& name) const {
        return archive_ ? ImagePlace{path_, inside_ + name} : ImagePlace{folder_of(path_) + "/" + name};
    }
    [[nodiscard]] bool has(const std::string& name) const {
        return archive_ ? std::ranges::find(names_, name) != names_.end()
                        : ::access(place(name).path.c_str(), F_OK) == 0;
    }
    // The first with that ending (DSP0243 5.3: the description leads).
    [[nodiscard]] std::optional<std::string> ending(std::string_view suffix) const {
        const auto found =
            std::ranges::find_if(names_, [&](const std::string& name) { return name.ends_with(suffix); });
        return found == names_.end() ? std::nullopt : std::optional(*found);
    }
    // A package that was unpacked may hold links, and with them any file of its reader's.
    [[nodiscard]] bool is_link(const std::string& name) const {
        return !archive_ && std::filesystem::is_symlink(place(name).path);
    }
    // The file as it lies there, neither joined nor unpacked.
    base::Result<ImageBytes> bytes(const std::string& name) const {
        if (!archive_)
            return ImageBytes::open(place(name).path);
        const auto all = TRY(shelf_.file(path_));
        const auto members = TRY(shelf_.members(path_));
        const auto found = std::ranges::find(members, inside_ + name, &ArchiveMember::name);
        if (found == members.end())
            return base::fail(fmt::format("{}: there is no {} in it", path_, name), kIo);
        return all->part(found->offset, found->size);
    }
    base::Result<std::string> text(const std::string& name) const {
        const ImageBytes file = TRY(bytes(name));
        if (file.size() > kMostText)
            return base::fail(fmt::format("{} is too large", place(name).name()), kIo);
        return file.read(0, file.size());
    }

  private:
    Package(ImageShelf& shelf, std::string path, bool archive)
        : shelf_(shelf), path_(std::move(path)), archive_(archive) {}
    ImageShelf& shelf_;
    std::string path_;
    bool archive_;
    std::string inside_;             // folder of the archive
    std::vector<std::string> names_; // of an archive
};

base::Result<> check_digest(const Package& package, const OvfDigest& digest, const std::string& manifest) {
    const std::string name = package.place(digest.file).name();
    if (digest.file.find('/') != std::string::npos || !package.has(digest.file))
        return base::fail(fmt::format("{}: {} lists it, but it is not there", name, manifest), kIo);
    auto sum = signing::FileDigest::named(digest.algorithm);
    if (!sum)
        return base::fail(fmt::format("{} {}", package.place(manifest).name(), sum.error().message), kIo);
    const ImageBytes file = TRY(package.bytes(digest.file));
    std::vector<uint8_t> piece(1 << 20);
    for (uint64_t at = 0; at < file.size(); at += piece.size()) {
        const auto part = std::span(piece).first(std::min<uint64_t>(piece.size(), file.size() - at));
        if (const auto read = file.read(at, part); !read)
            return base::fail(fmt::format("{} {}", name, read.error().message), kIo);
        sum->update(part);
    }
    if (sum->finish() != digest.value)
        return base::fail(fmt::format("{} is not what {} says it is ({} differs); get a fresh copy", name,
                                      manifest, digest.algorithm),
                          kIo);
    return {};
}

// A certificate that comes along says who made the manifest; whether to trust them is not decided here.
base::Result<> check_certificate(const Package& package, const std::string& manifest,
                                 const std::string& certificate, ForeignMachine& machine) {
    const std::string name = package.place(certificate).name(), text = TRY(package.text(certificate));
    if (!package.has(manifest))
        return base::fail(fmt::format("{} vouches for {}, which is not there", name, manifest), kIo);
    const auto signatures = parse_ovf_manifest(text);
    if (!signatures || signatures->size() != 1 || signatures->front().file != manifest)
        return base::fail(fmt::format("{} has no signature of {}", name, manifest), kIo);
    const auto signer = signing::check_file_signature(
        text, signatures->front().algorithm, TRY(package.text(manifest)), signatures->front().value, name);
    if (!signer)
        return base::fail(fmt::format("{}; {} may have been changed", signer.error().message, manifest), kIo);
    machine.notes.push_back(
        is_plain_text(*signer, 200, Lines::One)
            ? fmt::format("came with a certificate that says \"{}\" signed it; who that is was not checked",
                          *signer)
            : "came with a certificate of somebody with an odd name; who that is was not checked");
    return {};
}

// DSP0243 6.2: the manifest has the description's name, and every file of the package is in it.
base::Result<> check_package(const Package& package, const std::string& description, ForeignMachine& machine,
                             const OvfMachine& ovf) {
    const std::string manifest = without_suffix(description) + ".mf",
                      certificate = without_suffix(description) + ".cert";
    if (package.has(certificate))
        TRY(check_certificate(package, manifest, certificate, machine));
    if (!package.has(manifest))
        return {};
    const std::string name = package.place(manifest).name();
    const auto digests = parse_ovf_manifest(TRY(package.text(manifest)));
    if (!digests)
        return base::fail(fmt::format("{} {}", name, digests.error().message), kIo);
    const auto covers = [&](const std::string& file) {
        return std::ranges::find(*digests, file, &OvfDigest::file) != digests->end();
    };
    for (const OvfDigest& digest : *digests)
        TRY(check_digest(package, digest, manifest));
    const auto uncovered = [&](const std::string& file) {
        return base::fail(fmt::format("{} does not vouch for {}, which was put there later", name, file),
                          kIo);
    };
    if (!covers(description))
        return uncovered(description);
    for (const OvfDrive& drive : ovf.drives) {
        if (drive.file.empty() || (package.has(drive.file) && covers(drive.file)))
            continue;
        if (package.has(drive.file))
            return uncovered(drive.file);
        for (size_t i = 0; package.has(chunk_name(drive.file, i)); ++i)
            if (!covers(chunk_name(drive.file, i)))
                return uncovered(chunk_name(drive.file, i));
    }
    return {};
}

// As much of a text from elsewhere as a bundle takes.
std::string fitting(std::string text, size_t limit, Lines lines) {
    std::erase(text, '\r');
    std::ranges::replace(text, '\t', ' ');
    const auto blank = [](char c) { return c == ' ' || c == '\n'; };
    while (!text.empty() && blank(text.back()))
        text.pop_back();
    text.erase(text.begin(), std::ranges::find_if_not(text, blank));
    if (lines == Lines::One)
        std::ranges::replace(text, '\n', ' ');
    while (text.size() > limit || (!text.empty() && !is_utf8(text)))
        text.pop_back();
    return is_plain_text(text, limit, lines) ? text : std::string();
}

// Takes what there are drives for: disks before CDs, in their order.
void fill_drives(const std::vector<OvfDrive>& drives, const Package& package, ForeignMachine& machine) {
    size_t ide = 0, floppies = 0;
    for (const MediaKind kind : {MediaKind::Disk, MediaKind::Cdrom, MediaKind::Floppy})
        for (const OvfDrive& drive : drives) {
            if (drive.kind != kind)
                continue;
            size_t& used = kind == MediaKind::Floppy ? floppies : ide;
            if (used == (kind == MediaKind::Floppy ? kMostFloppies : kMostDisksAndCds)) {
                machine.notes.push_back(
                    fmt::format("has more {} than there are drives here; {} is left out",
                                kind == MediaKind::Floppy ? "floppies" : "disks and CDs",
                                drive.file.empty() ? fmt::format("an empty disk of {} MB", drive.blank >> 20)
                                                   : drive.file));
                continue;
            }
            ++used;
            machine.media.push_back(
                {kind, drive.file.empty() ? ImagePlace{} : package.place(drive.file), drive.blank});
        }
}

base::Result<ForeignMachine> follow_ovf(const Package& package, const std::string& description,
                                        const std::string& source) {
    auto ovf = parse_ovf(TRY(package.text(description)));
    if (!ovf)
        return about(source, ovf.error());
    ForeignMachine machine;
    TRY(check_package(package, description, machine, *ovf));
    machine.name = ovf->name;
    machine.memory = ovf->memory;
    machine.sound = ovf->sound;
    machine.network = ovf->network;
    for (const OvfDrive& drive : ovf->drives)
        for (const std::string& file : {drive.file, chunk_name(drive.file, 0)})
            if (!drive.file.empty() && package.is_link(file))
                return base::fail(fmt::format("{} is a link; put the file itself beside {}",
                                              package.place(file).name(), description),
                                  kIo);
    constexpr size_t kVersion = 64, kDescription = 4000;
    machine.version = fitting(ovf->version, kVersion, Lines::One);
    machine.description = fitting(ovf->description, kDescription, Lines::Many);
    if (machine.version.empty() != ovf->version.empty())
        machine.notes.emplace_back("has a version that cannot be shown; it is left out");
    if (machine.description.empty() != ovf->description.empty())
        machine.notes.emplace_back("has a description that cannot be shown; it is left out");
    else if (machine.description.size() + 100 < ovf->description.size())
        machine.notes.emplace_back("has a longer description there");
    std::ranges::move(ovf->notes, std::back_inserter(machine.notes));
    fill_drives(ovf->drives, package, machine);
    if (machine.media.empty())
        return base::fail(fmt::format("{} has neither disk nor CD nor floppy", source), kIo);
    return machine;
}

// Vagrant's documentation of boxes, "Box Format", and vagrant-libvirt's of its own: one box.img, or a list.
base::Result<ForeignMachine> follow_box(const Package& package, const std::string& source) {
    const auto bad = [&](const std::string& what) {
        return base::fail(fmt::format("{} is a box of Vagrant's {}", source, what), kIo);
    };
    const auto metadata = parse_json(TRY(package.text("metadata.json")));
    if (metadata.is_discarded() || !metadata.is_object())
        return bad("whose metadata.json cannot be read");
    const auto text = [](const nlohmann::json& object, const char* key) {
        const auto found = object.find(key);
        return object.is_object() && found != object.end() && found->is_string() ? found->get<std::string>()
                                                                                 : std::string();
    };
    if (const std::string provider = text(metadata, "provider"); provider != "libvirt")
        return bad("for a program that Encore does not know; VirtualBox's and libvirt's are read");
    std::vector<OvfDrive> drives;
    if (const auto disks = metadata.find("disks"); disks != metadata.end() && disks->is_array())
        for (const auto& disk : *disks)
            drives.push_back({MediaKind::Disk, text(disk, "path"), 0});
    else
        drives.push_back({MediaKind::Disk, "box.img", 0});
    ForeignMachine machine;
    machine.name = std::filesystem::path(source).stem().string();
    for (const OvfDrive& drive : drives)
        if (drive.file.empty() || !package.has(drive.file))
            return bad("that names a disk which is not in it");
    fill_drives(drives, package, machine);
    return machine;
}

base::Result<ForeignMachine> follow_archive(ImageShelf& shelf, const std::string& source) {
    Package package = TRY(Package::archive(shelf, source));
    if (auto description = package.ending(".ovf")) {
        if (const size_t slash = description->rfind('/'); slash != std::string::npos) {
            package.enter(description->substr(0, slash + 1));
            description->erase(0, slash + 1);
        }
        return follow_ovf(package, *description, source);
    }
    if (package.has("metadata.json"))
        return follow_box(package, source);
    if (package.ending(".vmx"))
        return base::fail(
            fmt::format("{} describes its machine in VMware's own way (.vmx); export it as an OVA", source),
            kIo);
    return base::fail(fmt::format("{} is an archive without a description (.ovf) of a machine", source), kIo);
}

// Which kind of description a text is, if it is one that can be read.
base::Result<bool> is_ovf(const ImageBytes& bytes, const std::string& source) {
    const std::string head = bytes.read(0, std::min<uint64_t>(bytes.size(), 4096));
    const auto has = [&](std::string_view word) { return head.find(word) != std::string::npos; };
    const auto other = [&](const char* whose) {
        return base::fail(
            fmt::format("{} describes a machine in {} own way; export it there as an OVA", source, whose),
            kIo);
    };
    if (!head.starts_with("<") && !head.starts_with("\xef\xbb\xbf<"))
        return has(".encoding = ") && source.ends_with(".vmx") ? base::Result<bool>(other("VMware's"))
                                                               : base::Result<bool>(false);
    if (has("<VirtualBox"))
        return other("VirtualBox's");
    if (has("<Parallels"))
        return other("Parallels'");
    if (has("<domain"))
        return other("libvirt's");
    return has("<?xml") || has("Envelope");
}

} // namespace

base::Result<ForeignMachine> find_machine(ImageShelf& shelf, const std::string& source, TakeAs take) {
    const auto bytes = TRY(shelf.find({source}));
    ForeignMachine machine;
    machine.name = std::filesystem::path(source).stem().string();
    if (take == TakeAs::Raw) {
        machine.media.push_back({MediaKind::Disk, {source}});
        return machine;
    }
    if (is_archive(*bytes))
        return follow_archive(shelf, source);
    if (TRY(is_ovf(*bytes, source)))
        return follow_ovf(Package::folder(shelf, source), std::filesystem::path(source).filename().string(),
                          source);
    const auto format = image_format(*bytes);
    if (!format)
        return about(source, {format.error().code == kUnknownImage ? kUnknownImage : kBadRecipe,
                              format.error().message});
    machine.media.push_back({format->kind, {source}});
    return machine;
}

} // namespace appliance_format
