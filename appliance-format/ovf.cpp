#include "appliance-format/ovf.h"

#include "appliance-format/format.h"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <map>
#include <pugixml.hpp>

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

// CIM_ResourceAllocationSettingData.ResourceType
enum ResourceType : int { kMemory = 4, kCdDrive = 15, kDvdDrive = 16, kDisk = 17 };

// "byte * 2^20", as DSP0004 writes units; older descriptors name them.
uint64_t unit_bytes(const std::string& text) {
    if (const size_t power = text.find("2^"); power != std::string::npos) {
        const int exponent = std::atoi(text.c_str() + power + 2);
        return exponent >= 0 && exponent < 40 ? uint64_t{1} << exponent : 0;
    }
    if (text.starts_with("Giga") || text == "GB")
        return 1u << 30;
    return 1u << 20;
}

class Reader {
  public:
    base::Result<OvfMachine> read(const pugi::xml_node& envelope) {
        for (const pugi::xml_node& file : child(envelope, "References").children())
            if (local(file.name()) == "File") {
                if (!attribute(file, "compression").empty() && attribute(file, "compression") != "identity")
                    return base::fail(
                        fmt::format("has its disks compressed once more ({}); unpack them first",
                                    attribute(file, "compression")),
                        kIo);
                files_[attribute(file, "id")] = attribute(file, "href");
            }
        for (const pugi::xml_node& disk : child(envelope, "DiskSection").children())
            if (local(disk.name()) == "Disk")
                disks_[attribute(disk, "diskId")] = attribute(disk, "fileRef");
        const pugi::xml_node system = child(envelope, "VirtualSystem");
        if (!system)
            return base::fail(child(envelope, "VirtualSystemCollection")
                                  ? "describes several machines; take out the one that is wanted"
                                  : "describes no machine",
                              kIo);
        machine_.name = child(system, "Name").child_value();
        if (machine_.name.empty())
            machine_.name = attribute(system, "id");
        for (const pugi::xml_node& part : system.children())
            if (local(part.name()) == "OperatingSystemSection")
                read_system(part);
            else if (local(part.name()) == "VirtualHardwareSection")
                for (const pugi::xml_node& item : part.children())
                    TRY(read_item(item));
        return std::move(machine_);
    }

  private:
    void read_system(const pugi::xml_node& section) {
        std::string words = attribute(section, "osType");
        for (const pugi::xml_node& each : section.children())
            words += std::string(" ") + each.child_value();
        machine_.is_64_bit = words.find("64") != std::string::npos;
    }

    base::Result<> read_item(const pugi::xml_node& item) {
        const auto value = [&](std::string_view name) {
            return std::string(child(item, name).child_value());
        };
        const int type = std::atoi(value("ResourceType").c_str());
        const std::string host = value("HostResource");
        if (type == kMemory) {
            const uint64_t quantity = std::strtoull(value("VirtualQuantity").c_str(), nullptr, 10);
            machine_.memory = std::min<uint64_t>(quantity, 1u << 24) * unit_bytes(value("AllocationUnits"));
        }
        if ((type != kDisk && type != kCdDrive && type != kDvdDrive) || host.empty())
            return {};
        const std::string id = host.substr(host.rfind('/') + 1);
        const bool by_disk = host.find("/disk/") != std::string::npos;
        const auto disk = disks_.find(id);
        const auto file = files_.find(by_disk && disk != disks_.end() ? disk->second : id);
        if (file == files_.end() || (by_disk && disk == disks_.end()))
            return base::fail(fmt::format("has a drive ({}) whose file it does not name", host), kIo);
        // A file beside the descriptor, never one elsewhere.
        if (file->second.empty() || file->second.find('/') != std::string::npos ||
            file->second.starts_with("."))
            return base::fail(fmt::format("has a drive whose file is not beside it: {}", file->second), kIo);
        (type == kDisk ? machine_.disks : machine_.cdroms).push_back(file->second);
        return {};
    }

    std::map<std::string, std::string> files_, disks_; // by id: name of the file, id of the file
    OvfMachine machine_;
};

} // namespace

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
