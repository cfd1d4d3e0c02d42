#include "vmm/firmware/acpi_tables.h"
#include "vmm/firmware/aml.h"

#include <catch2/catch.hpp>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <numeric>

using namespace vmm;

namespace {

using Bytes = std::vector<uint8_t>;

template <class T> T get(const Bytes& from, size_t at) {
    REQUIRE(at + sizeof(T) <= from.size());
    T value;
    std::memcpy(&value, &from[at], sizeof value);
    return value;
}
uint8_t sum(const Bytes& bytes, size_t from, size_t length) {
    REQUIRE(from + length <= bytes.size());
    const auto start = bytes.begin() + static_cast<ptrdiff_t>(from);
    return static_cast<uint8_t>(std::accumulate(start, start + static_cast<ptrdiff_t>(length), 0));
}

// What SeaBIOS does with the script: an independent reading of its 128-byte records.
struct Installed {
    std::map<std::string, Bytes> files;
    std::map<std::string, uint32_t> address;
    explicit Installed(const AcpiTables& built) {
        files["etc/acpi/rsdp"] = built.rsdp;
        files["etc/acpi/tables"] = built.tables;
        uint32_t next = 0x3FF0000;
        REQUIRE(built.loader.size() % 128 == 0);
        for (size_t at = 0; at < built.loader.size(); at += 128) {
            const auto text = [&](size_t offset) {
                return std::string(reinterpret_cast<const char*>(&built.loader[at + offset]));
            };
            Bytes& file = files.at(text(4));
            switch (get<uint32_t>(built.loader, at)) {
            case 1: {
                const auto alignment = get<uint32_t>(built.loader, at + 60);
                next = (next + alignment - 1) & ~(alignment - 1);
                address[text(4)] = next;
                next += static_cast<uint32_t>(file.size());
                break;
            }
            case 2: {
                const auto offset = get<uint32_t>(built.loader, at + 116);
                const unsigned bytes = built.loader[at + 120];
                REQUIRE(offset + bytes <= file.size());
                uint64_t value = 0;
                std::memcpy(&value, &file[offset], bytes);
                value += address.at(text(60));
                std::memcpy(&file[offset], &value, bytes);
                break;
            }
            case 3: {
                const auto offset = get<uint32_t>(built.loader, at + 60);
                REQUIRE(offset < file.size());
                file[offset] =
                    static_cast<uint8_t>(file[offset] - sum(file, get<uint32_t>(built.loader, at + 64),
                                                            get<uint32_t>(built.loader, at + 68)));
                break;
            }
            default:
                FAIL("unknown loader command");
            }
        }
    }
    // The table at a guest address, checksum verified.
    Bytes table(uint32_t at, const char* signature) {
        const Bytes& blob = files.at("etc/acpi/tables");
        const uint32_t offset = at - address.at("etc/acpi/tables");
        const auto length = get<uint32_t>(blob, offset + 4);
        REQUIRE(offset + length <= blob.size());
        Bytes out(blob.begin() + offset, blob.begin() + offset + length);
        CHECK(std::memcmp(out.data(), signature, 4) == 0);
        if (std::strcmp(signature, "FACS") != 0)
            CHECK(sum(out, 0, out.size()) == 0);
        return out;
    }
};

} // namespace

TEST_CASE("acpi: the installed tables are reachable from the RSDP with good checksums", "[firmware]") {
    Installed acpi(build_acpi_tables(1));
    const Bytes& rsdp = acpi.files.at("etc/acpi/rsdp");
    CHECK(std::memcmp(rsdp.data(), "RSD PTR ", 8) == 0);
    CHECK(sum(rsdp, 0, 20) == 0);
    const Bytes rsdt = acpi.table(get<uint32_t>(rsdp, 16), "RSDT");
    REQUIRE(rsdt.size() == 44);
    const Bytes fadt = acpi.table(get<uint32_t>(rsdt, 36), "FACP");
    const auto facs = get<uint32_t>(fadt, 36), dsdt = get<uint32_t>(fadt, 40);
    CHECK(facs % 64 == 0);
    acpi.table(facs, "FACS");
    CHECK(acpi.table(dsdt, "DSDT") == build_dsdt(1));
    CHECK(get<uint64_t>(fadt, 140) == dsdt);
}

TEST_CASE("acpi: the FADT describes the PIIX4 block at 600h", "[firmware]") {
    Installed acpi(build_acpi_tables(0));
    const Bytes rsdt = acpi.table(get<uint32_t>(acpi.files.at("etc/acpi/rsdp"), 16), "RSDT");
    const Bytes fadt = acpi.table(get<uint32_t>(rsdt, 36), "FACP");
    CHECK(fadt.size() == 244);
    CHECK(get<uint16_t>(fadt, 46) == 9);
    CHECK(get<uint32_t>(fadt, 48) == 0xB2);
    CHECK(get<uint32_t>(fadt, 56) == 0x600);
    CHECK(get<uint32_t>(fadt, 64) == 0x604);
    CHECK(get<uint32_t>(fadt, 76) == 0x608);
    CHECK(get<uint32_t>(fadt, 80) == 0x60C);
    CHECK(fadt[108] == 0x32);
    CHECK((get<uint32_t>(fadt, 112) & 1u << 4) == 0); // fixed power button
    CHECK((get<uint32_t>(fadt, 112) & 1u << 8) == 0); // 24-bit timer
    CHECK(get<uint64_t>(fadt, 120) == 0xCF9);
    CHECK(fadt[128] == 6);
}

TEST_CASE("acpi: the MADT describes one processor and the IO-APIC as it is wired", "[firmware]") {
    Installed acpi(build_acpi_tables(0));
    const Bytes rsdt = acpi.table(get<uint32_t>(acpi.files.at("etc/acpi/rsdp"), 16), "RSDT");
    const Bytes madt = acpi.table(get<uint32_t>(rsdt, 40), "APIC");
    CHECK(get<uint32_t>(madt, 36) == 0xFEE00000);
    CHECK(get<uint32_t>(madt, 40) == 1);
    std::map<unsigned, std::vector<Bytes>> entries;
    for (size_t at = 44; at < madt.size(); at += madt.at(at + 1)) {
        REQUIRE(madt.at(at + 1) >= 2);
        REQUIRE(at + madt[at + 1] <= madt.size());
        const auto first = madt.begin() + static_cast<ptrdiff_t>(at);
        entries[madt[at]].emplace_back(first + 2, first + madt[at + 1]);
    }
    CHECK(entries.size() == 4);
    CHECK(entries[0] == std::vector<Bytes>{{0, 0, 1, 0, 0, 0}});
    CHECK(entries[1] == std::vector<Bytes>{{0, 0, 0, 0, 0xC0, 0xFE, 0, 0, 0, 0}});
    CHECK(entries[2] == std::vector<Bytes>{{0, 0, 2, 0, 0, 0, 0, 0}, {0, 9, 9, 0, 0, 0, 0x0D, 0}});
    CHECK(entries[4] == std::vector<Bytes>{{0xFF, 0, 0, 1}});
}

TEST_CASE("aml: lengths, names and integers are encoded as specified", "[firmware]") {
    using namespace aml;
    CHECK(integer(0) == Term{0x00});
    CHECK(integer(1) == Term{0x01});
    CHECK(integer(0x1234) == Term{0x0B, 0x34, 0x12});
    CHECK(path("\\_SB.PCI0") == Term{'\\', 0x2E, '_', 'S', 'B', '_', 'P', 'C', 'I', '0'});
    CHECK(path("A.B.C").at(0) == 0x2F);
    CHECK(eisa_id("PNP0A03") == Term{0x0C, 0x41, 0xD0, 0x0A, 0x03});
    CHECK(buffer(Term(10)).at(1) == 13);
    CHECK(buffer(Term(59)).at(1) == 62);
    CHECK(buffer(Term(60)).at(1) == 63);
    const Term large = buffer(Term(61)); // 61 + 2, and two length bytes
    CHECK(large.at(1) == (0x40 | (65 & 15)));
    CHECK(large.at(2) == 65 >> 4);
}

TEST_CASE("acpi: iasl disassembles and compiles the tables without errors", "[firmware]") {
    if (std::system("command -v iasl >/dev/null 2>&1") != 0) {
        WARN("iasl (package acpica-tools) is not installed: not checked");
        return;
    }
    char name[] = "/tmp/encore-acpi-XXXXXX";
    REQUIRE(::mkdtemp(name) != nullptr);
    const std::filesystem::path directory = name;
    const auto run = [&](const std::string& command) {
        return std::system(("cd '" + directory.string() + "' && " + command + " >log 2>&1").c_str());
    };
    const auto write = [&](const char* file, const Bytes& bytes) {
        std::ofstream(directory / file, std::ios::binary)
            .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    };
    Installed acpi(build_acpi_tables(1));
    const Bytes rsdt = acpi.table(get<uint32_t>(acpi.files.at("etc/acpi/rsdp"), 16), "RSDT");
    write("dsdt.dat", build_dsdt(1));
    write("facp.dat", acpi.table(get<uint32_t>(rsdt, 36), "FACP"));
    write("apic.dat", acpi.table(get<uint32_t>(rsdt, 40), "APIC"));
    write("rsdt.dat", rsdt);
    for (const char* table : {"dsdt", "facp", "apic", "rsdt"}) {
        INFO(table);
        CHECK(run(std::string("iasl -d ") + table + ".dat") == 0);
        std::ifstream text(directory / (std::string(table) + ".dsl"));
        const std::string source(std::istreambuf_iterator<char>(text), {});
        CHECK(source.size() > 100);
        for (const char* trouble : {"Incorrect checksum", "Invalid", "**** Unknown", "External ("})
            CHECK(source.find(trouble) == std::string::npos);
    }
    std::ifstream text(directory / "dsdt.dsl");
    const std::string dsdt(std::istreambuf_iterator<char>(text), {});
    // The generation ID, as Microsoft's specification wants it described.
    for (const char* line : {"Device (VGEN)", "Name (_CID, \"VM_Gen_Counter\")",
                             "Name (_DDN, \"VM_Gen_Counter\")", "Name (ADDR, Package (0x02)", "0xFEF00000",
                             "Method (_E05, 0, NotSerialized)", "Notify (\\_SB.VGEN, 0x80)",
                             // Interrupts, as the system says that it wants them.
                             "Method (\\_PIC, 1, NotSerialized)", "Method (_PRT, 0, NotSerialized)"}) {
        INFO(line);
        CHECK(dsdt.find(line) != std::string::npos);
    }
    CHECK(run("iasl -p again dsdt.dsl") == 0); // the disassembly is a valid program
    std::filesystem::remove_all(directory);
}
