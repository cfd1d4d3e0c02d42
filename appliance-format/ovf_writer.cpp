#include "appliance-format/ovf_writer.h"

#include <algorithm>
#include <fmt/format.h>

namespace appliance_format {

namespace {

constexpr uint64_t kMiB = 1u << 20;

// CIM_ResourceAllocationSettingData.ResourceType.
enum ResourceType : unsigned {
    kProcessor = 3,
    kMemory = 4,
    kIde = 5,
    kEthernet = 10,
    kFloppy = 14,
    kCdDrive = 15,
    kDisk = 17,
    kSound = 35 // VirtualBox' own
};

std::string xml_text(std::string_view text) {
    std::string out;
    for (const char c : text)
        switch (c) {
        case '&':
            out += "&amp;";
            break;
        case '<':
            out += "&lt;";
            break;
        case '>':
            out += "&gt;";
            break;
        default:
            out += c;
        }
    return out;
}

// One <Item>; the schema has its elements in alphabetical order.
class Items {
  public:
    using Fields = std::vector<std::pair<const char*, std::string>>;
    // Answers its InstanceID.
    unsigned add(ResourceType type, const std::string& name, Fields fields, const char* attributes = "") {
        fields.emplace_back("ElementName", name);
        fields.emplace_back("InstanceID", fmt::format("{}", ++last_));
        fields.emplace_back("ResourceType", fmt::format("{}", static_cast<unsigned>(type)));
        std::ranges::sort(fields, std::less(),
                          [](const auto& field) { return std::string_view(field.first); });
        text_ += fmt::format("      <Item{}>\n", attributes);
        for (const auto& [key, value] : fields)
            text_ += fmt::format("        <rasd:{0}>{1}</rasd:{0}>\n", key, xml_text(value));
        text_ += "      </Item>\n";
        return last_;
    }
    [[nodiscard]] const std::string& text() const { return text_; }

  private:
    unsigned last_ = 0;
    std::string text_;
};

std::string hardware(const Manifest& manifest, const std::vector<OvfFile>& files) {
    Items items;
    items.add(kProcessor, "1 processor", {{"AllocationUnits", "hertz * 10^6"}, {"VirtualQuantity", "1"}});
    const uint64_t memory = manifest.machine.memory / kMiB;
    items.add(kMemory, fmt::format("{} MB of memory", memory),
              {{"AllocationUnits", "byte * 2^20"}, {"VirtualQuantity", fmt::format("{}", memory)}});
    unsigned channels[2];
    for (unsigned i = 0; i < 2; ++i)
        channels[i] = items.add(kIde, fmt::format("IDE channel {}", i),
                                {{"Address", fmt::format("{}", i)}, {"ResourceSubType", "PIIX4"}});
    unsigned on_ide = 0, floppies = 0;
    for (size_t i = 0; i < files.size(); ++i) {
        const MediaKind kind = files[i].kind;
        const bool disk = kind == MediaKind::Disk;
        Items::Fields fields{
            {"HostResource", fmt::format("ovf:/{}{}", disk ? "disk/disk" : "file/file", i + 1)}};
        if (kind == MediaKind::Floppy) {
            fields.emplace_back("AddressOnParent", fmt::format("{}", floppies++));
        } else {
            fields.emplace_back("AddressOnParent", fmt::format("{}", on_ide % 2));
            fields.emplace_back("Parent", fmt::format("{}", channels[on_ide++ / 2 % 2]));
        }
        if (!disk)
            fields.emplace_back("AutomaticAllocation", "true");
        items.add(disk                       ? kDisk
                  : kind == MediaKind::Cdrom ? kCdDrive
                                             : kFloppy,
                  files[i].name, std::move(fields));
    }
    if (manifest.machine.network)
        items.add(kEthernet, "Network card",
                  {{"AutomaticAllocation", manifest.policy.network.value_or(false) ? "true" : "false"},
                   {"Connection", "NAT"},
                   {"ResourceSubType", "PCNet32"}});
    if (manifest.machine.sound) // VMware has no such type, and is told that it may do without
        items.add(kSound, "Sound card", {{"AutomaticAllocation", "true"}, {"ResourceSubType", "ensoniq1371"}},
                  " ovf:required=\"false\"");
    return items.text();
}

} // namespace

std::string write_ovf(const Manifest& manifest, const std::vector<OvfFile>& files) {
    std::string references, disks;
    for (size_t i = 0; i < files.size(); ++i) {
        references += fmt::format("    <File ovf:id=\"file{}\" ovf:href=\"{}\" ovf:size=\"{}\"/>\n", i + 1,
                                  files[i].name, files[i].size);
        if (files[i].kind == MediaKind::Disk)
            disks +=
                fmt::format("    <Disk ovf:diskId=\"disk{0}\" ovf:fileRef=\"file{0}\" ovf:capacity=\"{1}\" "
                            "ovf:format=\"http://www.vmware.com/interfaces/specifications/vmdk.html"
                            "#streamOptimized\"/>\n",
                            i + 1, files[i].capacity);
    }
    const ApplianceInfo& info = manifest.appliance;
    std::string text = fmt::format(R"(<?xml version="1.0" encoding="UTF-8"?>
<Envelope ovf:version="1.0" xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData">
  <References>
{}  </References>
)",
                                   references);
    if (!disks.empty())
        text += fmt::format("  <DiskSection>\n    <Info>Disks</Info>\n{}  </DiskSection>\n", disks);
    if (manifest.machine.network)
        text += "  <NetworkSection>\n    <Info>Networks</Info>\n    <Network ovf:name=\"NAT\">\n"
                "      <Description>Outwards only</Description>\n    </Network>\n  </NetworkSection>\n";
    text += fmt::format(R"(  <VirtualSystem ovf:id="{}">
    <Info>A virtual machine</Info>
    <Name>{}</Name>
    <OperatingSystemSection ovf:id="1">
      <Info>The guest's system</Info>
      <Description>Other</Description>
    </OperatingSystemSection>
)",
                        info.name, xml_text(info.title));
    if (!info.version.empty())
        text +=
            fmt::format("    <ProductSection>\n      <Info>What it is</Info>\n      <Product>{}</Product>\n"
                        "      <Version>{}</Version>\n    </ProductSection>\n",
                        xml_text(info.title), xml_text(info.version));
    if (!info.description.empty())
        text += fmt::format("    <AnnotationSection>\n      <Info>About it</Info>\n"
                            "      <Annotation>{}</Annotation>\n    </AnnotationSection>\n",
                            xml_text(info.description));
    text += fmt::format(R"(    <VirtualHardwareSection>
      <Info>The machine</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>{}</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>vmx-07</vssd:VirtualSystemType>
      </System>
{}    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
)",
                        info.name, hardware(manifest, files));
    return text;
}

std::vector<std::string> lost_in_ovf(const Manifest& manifest) {
    std::vector<std::string> notes;
    if (!manifest.boot.kernel.empty())
        notes.emplace_back(
            "starts from a kernel of its own, which is not carried over: it needs a disk that boots");
    if (manifest.boot.order.size() > 1) {
        std::vector<std::string> order;
        for (const MediaKind kind : manifest.boot.order)
            order.emplace_back(to_string(kind));
        notes.push_back(fmt::format("starts from {} in this order; elsewhere the firmware's settings decide",
                                    fmt::join(order, ", ")));
    }
    if (!manifest.scenes.empty())
        notes.push_back(fmt::format("has {} scene{}; elsewhere it starts at power-on", manifest.scenes.size(),
                                    manifest.scenes.size() == 1 ? "" : "s"));
    if (manifest.machine.network)
        notes.emplace_back("has an RTL8139 network card here, a PCnet there; its system must know both");
    if (manifest.machine.sound)
        notes.emplace_back("has AC'97 sound here, perhaps other sound or none there");
    return notes;
}

} // namespace appliance_format
