#include "appliance-format/ovf.h"

#include "appliance-format/format.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <fmt/format.h>
#include <map>
#include <optional>
#include <pugixml.hpp>
#include <utility>

namespace appliance_format {

namespace {

// DSP0243 names its namespaces freely, so only what follows the prefix counts.
std::string_view local(const char* name) {
    const char* colon = std::strchr(name, ':');
    return colon != nullptr ? colon + 1 : name;
}

std::string attribute(const pugi::xml_node& node, std::string_view name) {
    for (const pugi::xml_attribute& each : node.attributes())
        if (local(each.name()) == name)
            return each.value();
    return {};
}

pugi::xml_node child(const pugi::xml_node& node, std::string_view name) {
    return node.find_child([&](const pugi::xml_node& each) { return local(each.name()) == name; });
}

std::string text_of(const pugi::xml_node& node, std::string_view name) {
    return child(node, name).child_value();
}

std::optional<uint64_t> number(std::string_view text) {
    const size_t from = text.find_first_not_of(" \t\r\n");
    uint64_t value = 0;
    if (from == std::string_view::npos ||
        std::from_chars(text.data() + from, text.data() + text.size(), value).ec != std::errc())
        return std::nullopt;
    return value;
}

// CIM_ResourceAllocationSettingData.ResourceType, and the sound card that VirtualBox made up.
enum ResourceType : uint64_t {
    kOther = 1,
    kProcessor = 3,
    kMemory = 4,
    kIde = 5,
    kScsi = 6,
    kEthernet = 10,
    kFloppy = 14,
    kCdDrive = 15,
    kDvdDrive = 16,
    kDisk = 17,
    kTape = 18,
    kSata = 20,
    kUsb = 23,
    kSound = 35
};

struct Controller {
    uint64_t type = 0, address = 0;
};

class Reader {
  public:
    base::Result<OvfMachine> read(const pugi::xml_node& envelope) {
        for (const pugi::xml_node& file : child(envelope, "References").children())
            if (local(file.name()) == "File")
                files_[attribute(file, "id")] = attribute(file, "href");
        for (const pugi::xml_node& disk : child(envelope, "DiskSection").children())
            if (local(disk.name()) == "Disk")
                TRY(read_disk(disk));
        for (const pugi::xml_node& option : child(envelope, "DeploymentOptionSection").children())
            if (local(option.name()) == "Configuration" &&
                (configuration_.empty() || attribute(option, "default") == "true"))
                configuration_ = attribute(option, "id");
        const pugi::xml_node system = TRY(the_machine(envelope));
        machine_.name = text_of(system, "Name");
        if (machine_.name.empty())
            machine_.name = attribute(system, "id");
        bool has_hardware = false; // further sections are other ways to build it
        for (const pugi::xml_node& part : system.children()) {
            const std::string_view name = local(part.name());
            if (name == "OperatingSystemSection")
                read_system(part);
            else if (name == "ProductSection" && machine_.version.empty())
                machine_.version = text_of(part, child(part, "Version") ? "Version" : "FullVersion");
            else if (name == "AnnotationSection")
                machine_.description = text_of(part, "Annotation");
            else if (name == "VirtualHardwareSection" && !std::exchange(has_hardware, true))
                TRY(read_hardware(part));
        }
        return std::move(machine_);
    }

  private:
    struct Disk {
        std::string file; // its id
        uint64_t capacity = 0;
    };
    struct Place {
        std::tuple<uint64_t, uint64_t, uint64_t> order; // kind of controller, its number, address there
        bool elsewhere = false;                         // not on IDE
        OvfDrive drive;
    };

    base::Result<> read_disk(const pugi::xml_node& disk) {
        const std::string id = attribute(disk, "diskId"), units = attribute(disk, "capacityAllocationUnits");
        if (!attribute(disk, "parentRef").empty())
            return base::fail(fmt::format("has a disk ({}) that is only the difference to another one", id),
                              kIo);
        const auto capacity = number(attribute(disk, "capacity")); // or "${a property}"
        const uint64_t unit = units.empty() ? 1 : ovf_unit(units);
        const bool fits = capacity && unit != 0 && *capacity <= kMaxBlobSize / unit;
        disks_[id] = {attribute(disk, "fileRef"), fits ? *capacity * unit : 0};
        return {};
    }

    base::Result<pugi::xml_node> the_machine(const pugi::xml_node& parent) {
        pugi::xml_node found;
        int machines = 0;
        parent.find_node([&](const pugi::xml_node& each) {
            if (local(each.name()) == "VirtualSystem" && machines++ == 0)
                found = each;
            return false;
        });
        if (machines != 1)
            return base::fail(machines == 0
                                  ? "describes no machine"
                                  : "describes several machines; export the one that is wanted alone",
                              kIo);
        return found;
    }

    void read_system(const pugi::xml_node& section) {
        std::string words = attribute(section, "osType");
        for (const pugi::xml_node& each : section.children())
            words += std::string(" ") + each.child_value();
        if (words.find("64") != std::string::npos)
            note("is said to be a 64-bit system, and those do not run in Encore");
    }

    base::Result<> read_hardware(const pugi::xml_node& section) {
        std::vector<pugi::xml_node> items;
        for (const pugi::xml_node& item : section.children()) {
            const std::string_view name = local(item.name());
            if (name == "Config" && attribute(item, "key") == "firmware" && attribute(item, "value") == "efi")
                note("starts by EFI there, and the firmware here is a BIOS");
            if (name != "Item" && name != "StorageItem" && name != "EthernetPortItem")
                continue;
            const std::string only = attribute(item, "configuration");
            if (only.empty() || (" " + only + " ").find(" " + configuration_ + " ") != std::string::npos)
                items.push_back(item);
        }
        for (const pugi::xml_node& item : items) {
            const uint64_t type = number(text_of(item, "ResourceType")).value_or(0);
            if (type == kIde || type == kScsi || type == kSata)
                controllers_[text_of(item, "InstanceID")] = {type,
                                                             number(text_of(item, "Address")).value_or(0)};
        }
        for (const pugi::xml_node& item : items)
            TRY(read_item(item, number(text_of(item, "ResourceType")).value_or(0)));
        // Not by their place in the text: exporters write them as they come.
        std::ranges::stable_sort(places_, {}, &Place::order);
        say_what_moves();
        for (Place& place : places_)
            machine_.drives.push_back(std::move(place.drive));
        if (cards_ > 1)
            note(fmt::format("has {} network cards there, one here", cards_));
        return {};
    }

    base::Result<> read_item(const pugi::xml_node& item, uint64_t type) {
        const uint64_t quantity = number(text_of(item, "VirtualQuantity")).value_or(0);
        switch (type) {
        case kMemory:
            read_memory(quantity, text_of(item, "AllocationUnits"));
            break;
        case kProcessor:
            if (quantity > 1)
                note(fmt::format("has {} processors there, one here", quantity));
            break;
        case kEthernet:
            machine_.network = true;
            ++cards_;
            break;
        case kSound:
            machine_.sound = true;
            break;
        case kOther:
            machine_.sound =
                machine_.sound || text_of(item, "ResourceSubType").find("sound") != std::string::npos;
            break;
        case kUsb:
            note("has a USB controller there, none here");
            break;
        case kTape:
            note("has a tape drive there, none here");
            break;
        case kFloppy:
        case kCdDrive:
        case kDvdDrive:
        case kDisk:
            return read_drive(item, type);
        default:
            break;
        }
        return {};
    }

    void read_memory(uint64_t quantity, const std::string& units) {
        constexpr uint64_t kUsual = 1u << 20, kMost = uint64_t{1} << 50;
        const uint64_t unit = units.empty() ? kUsual : ovf_unit(units);
        if (unit == 0)
            note(fmt::format("counts its memory in a unit that is not known here ({})", units));
        else
            machine_.memory = std::min(quantity, kMost / unit) * unit;
    }

    base::Result<> read_drive(const pugi::xml_node& item, uint64_t type) {
        const std::string host = text_of(item, "HostResource");
        if (host.empty())
            return {}; // nothing in the drive
        Place place;
        place.drive.kind = type == kDisk     ? MediaKind::Disk
                           : type == kFloppy ? MediaKind::Floppy
                                             : MediaKind::Cdrom;
        const std::string id = host.substr(host.rfind('/') + 1);
        const bool by_disk = host.find("/disk/") != std::string::npos;
        const auto disk = disks_.find(id);
        if (by_disk && disk != disks_.end() && disk->second.file.empty()) {
            if (disk->second.capacity == 0)
                return base::fail(fmt::format("has an empty disk ({}) whose size it does not say", id), kIo);
            constexpr uint64_t kSector = 512;
            place.drive.blank = (disk->second.capacity + kSector - 1) / kSector * kSector;
        } else {
            const auto file = files_.find(by_disk && disk != disks_.end() ? disk->second.file : id);
            if (file == files_.end() || (by_disk && disk == disks_.end()))
                return base::fail(fmt::format("has a drive ({}) whose file it does not name", host), kIo);
            // A file beside the descriptor, never one elsewhere.
            if (file->second.empty() || file->second.find('/') != std::string::npos ||
                file->second.starts_with("."))
                return base::fail(fmt::format("has a drive whose file is not beside it: {}", file->second),
                                  kIo);
            place.drive.file = file->second;
        }
        constexpr uint64_t kNowhere = 3;
        const uint64_t address = number(text_of(item, "AddressOnParent")).value_or(0);
        const auto controller = controllers_.find(text_of(item, "Parent"));
        place.order = {kNowhere, 0, address};
        if (controller != controllers_.end()) {
            const uint64_t kind = controller->second.type;
            place.order = {kind == kIde ? 0 : kind == kSata ? 1 : 2, controller->second.address, address};
            place.elsewhere = kind != kIde;
        }
        places_.push_back(std::move(place));
        return {};
    }

    void say_what_moves() {
        for (size_t i = 1; i < places_.size(); ++i)
            if (places_[i].order == places_[i - 1].order && std::get<0>(places_[i].order) < 3)
                note(fmt::format("has {} and {} at one address; one follows the other here",
                                 name_of(places_[i - 1].drive), name_of(places_[i].drive)));
        if (std::ranges::any_of(places_, [](const Place& place) {
                return place.elsewhere && place.drive.kind == MediaKind::Disk;
            }))
            note("has disks on SATA or SCSI there, on IDE here; its system must know both");
    }

    static std::string name_of(const OvfDrive& drive) {
        return drive.file.empty() ? "an empty disk" : drive.file;
    }

    void note(std::string text) { machine_.notes.push_back(std::move(text)); }

    std::map<std::string, std::string> files_;      // by id: name
    std::map<std::string, Disk> disks_;             // by id
    std::map<std::string, Controller> controllers_; // by InstanceID
    std::string configuration_;
    std::vector<Place> places_;
    unsigned cards_ = 0;
    OvfMachine machine_;
};

} // namespace

uint64_t ovf_unit(std::string_view text) {
    std::string plain;
    for (const char c : text)
        if (c != ' ' && c != '\t')
            plain += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    uint64_t unit = 1;
    std::string_view rest = plain;
    const size_t product = rest.find('*');
    std::string_view name = rest.substr(0, product);
    if (name.ends_with("bytes"))
        name.remove_suffix(1);
    constexpr std::pair<std::string_view, unsigned> kNames[] = {
        {"byte", 0},      {"b", 0},         {"kilobyte", 10}, {"kb", 10},       {"kib", 10},
        {"kibibyte", 10}, {"megabyte", 20}, {"mb", 20},       {"mib", 20},      {"mebibyte", 20},
        {"gigabyte", 30}, {"gb", 30},       {"gib", 30},      {"gibibyte", 30}, {"terabyte", 40},
        {"tb", 40},       {"tib", 40}};
    const auto* found = std::ranges::find(kNames, name, &std::pair<std::string_view, unsigned>::first);
    if (found == std::end(kNames))
        return 0;
    unit <<= found->second;
    rest = product == std::string_view::npos ? std::string_view() : rest.substr(product);
    constexpr uint64_t kMost = uint64_t{1} << 50;
    while (!rest.empty()) { // "*2^20", "*1024"
        if (rest[0] != '*')
            return 0;
        uint64_t factor = 0, power = 1;
        const char* end = rest.data() + rest.size();
        auto read = std::from_chars(rest.data() + 1, end, factor);
        if (read.ec == std::errc() && read.ptr != end && *read.ptr == '^')
            read = std::from_chars(read.ptr + 1, end, power);
        if (read.ec != std::errc() || factor == 0 || power > 50)
            return 0;
        for (uint64_t i = 0; i < power; ++i) {
            if (factor > kMost / unit)
                return 0;
            unit *= factor;
        }
        rest = rest.substr(static_cast<size_t>(read.ptr - rest.data()));
    }
    return unit;
}

base::Result<OvfMachine> parse_ovf(std::string_view xml) {
    pugi::xml_document document;
    if (const auto parsed = document.load_buffer(xml.data(), xml.size()); !parsed)
        return base::fail(
            fmt::format("is not an OVF description ({} at byte {})", parsed.description(), parsed.offset),
            kIo);
    const pugi::xml_node envelope = document.document_element();
    if (local(envelope.name()) != "Envelope")
        return base::fail("is not an OVF description", kIo);
    return Reader().read(envelope);
}

} // namespace appliance_format
