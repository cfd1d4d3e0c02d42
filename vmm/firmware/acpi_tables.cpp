// Fixed tables and the table-loader script. Table layouts: ACPI specification 2.0c, chapter 5. Loader
// commands: 128-byte records, as SeaBIOS executes them (allocate, add pointer, add checksum).
#include "vmm/firmware/acpi_tables.h"

#include "vmm/base/verify.h"
#include "vmm/firmware/acpi_hardware.h"
#include "vmm/firmware/byte_writer.h"

#include <algorithm>
#include <numeric>
#include <string_view>

namespace vmm {

namespace {

constexpr std::string_view kTablesFile = "etc/acpi/tables", kRsdpFile = "etc/acpi/rsdp";
constexpr size_t kHeaderBytes = 36, kChecksumOffset = 9;
constexpr std::string_view kOemId = "ENCORE", kOemTableId = "ENCOREPC", kCreator = "ENCR";

// Generic address of an I/O register block.
void put_io_address(Bytes& out, uint16_t port, unsigned bytes) {
    constexpr uint8_t kSystemIo = 1;
    put(out, port == 0 ? 0 : kSystemIo, 1);
    put(out, port == 0 ? 0 : 8 * bytes, 1);
    put(out, 0, 2); // bit offset; access size undefined
    put(out, port, 8);
}

// ACPI 5.2.9. 64 bytes, aligned to 64, no checksum.
Bytes facs() {
    constexpr uint32_t kFacsBytes = 64;
    Bytes out;
    put(out, "FACS");
    put(out, kFacsBytes, 4);
    out.resize(kFacsBytes, 0);
    return out;
}

constexpr size_t kFadtFacs = 36, kFadtDsdt = 40, kFadtXDsdt = 140;

// ACPI 5.2.8, revision 3. FACS and DSDT hold offsets into the blob until SeaBIOS relocates them.
Bytes fadt(uint32_t facs_offset, uint32_t dsdt_offset) {
    using namespace acpi_hardware;
    constexpr uint32_t kWbinvd = 1u << 0, kHaltC1 = 1u << 2, kNoSleepButton = 1u << 5, kNoFixedRtc = 1u << 6,
                       kResetRegister = 1u << 10;
    constexpr uint16_t kC2Unsupported = 101, kC3Unsupported = 1001;
    constexpr uint8_t kCenturyCmos = 0x32;
    constexpr uint16_t kLegacyDevices = 1u << 0, kHas8042 = 1u << 1;
    constexpr uint16_t kResetPort = 0xCF9;
    constexpr uint8_t kResetValue = 0x06;
    constexpr size_t kFadtBytes = 244;

    Bytes out;
    put(out, facs_offset, 4);
    put(out, dsdt_offset, 4);
    put(out, 0, 1); // reserved (ACPI 1.0: dual 8259)
    put(out, 1, 1); // desktop
    put(out, kSciIrq, 2);
    put(out, kSmiCommandPort, 4);
    put(out, kAcpiEnable, 1);
    put(out, kAcpiDisable, 1);
    put(out, 0, 2); // no S4BIOS, no processor state control
    put(out, kPm1Event, 4);
    put(out, 0, 4);
    put(out, kPm1Control, 4);
    put(out, 0, 4);
    put(out, 0, 4); // PM2
    put(out, kPmTimer, 4);
    put(out, kGpe0, 4);
    put(out, 0, 4);
    put(out, 4, 1); // PM1 event bytes
    put(out, 2, 1); // PM1 control bytes
    put(out, 0, 1);
    put(out, 4, 1); // timer bytes
    put(out, 4, 1); // GPE0 bytes
    put(out, 0, 3); // no GPE1, no C-state support
    put(out, kC2Unsupported, 2);
    put(out, kC3Unsupported, 2);
    put(out, 0, 8); // flush parameters (WBINVD works), duty cycle, RTC alarms
    put(out, kCenturyCmos, 1);
    put(out, kLegacyDevices | kHas8042, 2);
    put(out, 0, 1);
    put(out, kWbinvd | kHaltC1 | kNoSleepButton | kNoFixedRtc | kResetRegister, 4);
    put_io_address(out, kResetPort, 1);
    put(out, kResetValue, 1);
    put(out, 0, 3);
    put(out, 0, 8); // X_FIRMWARE_CTRL: the 32-bit field rules
    put(out, dsdt_offset, 8);
    put_io_address(out, kPm1Event, 4);
    put_io_address(out, 0, 0);
    put_io_address(out, kPm1Control, 2);
    put_io_address(out, 0, 0);
    put_io_address(out, 0, 0);
    put_io_address(out, kPmTimer, 4);
    put_io_address(out, kGpe0, 4);
    put_io_address(out, 0, 0);
    VERIFY(out.size() + kHeaderBytes == kFadtBytes);
    return acpi_table("FACP", 3, out);
}

// ACPI 5.2.10.4: the interrupt controllers. Global interrupts are pins of the one IO-APIC, and ISA lines the
// pins of their number unless a source override says otherwise.
Bytes madt() {
    using namespace acpi_hardware;
    constexpr uint32_t kPcAtCompatible = 1; // an 8259 pair is there as well
    constexpr uint32_t kEnabled = 1;
    constexpr uint8_t kLocal = 0, kIo = 1, kOverride = 2, kLocalNmi = 4, kIsaBus = 0, kAllProcessors = 0xFF;
    constexpr uint16_t kConforms = 0, kActiveHighLevel = 0x0D;
    constexpr uint8_t kNmiPin = 1; // LINT1
    Bytes out;
    put(out, kLocalApicAddress, 4);
    put(out, kPcAtCompatible, 4);
    const auto entry = [&](uint8_t type, uint8_t bytes) {
        put(out, type, 1);
        put(out, bytes, 1);
    };
    entry(kLocal, 8);
    put(out, 0, 1); // as the DSDT's CPU0
    put(out, 0, 1);
    put(out, kEnabled, 4);
    entry(kIo, 12);
    put(out, 0, 2); // its ID
    put(out, kIoApicAddress, 4);
    put(out, 0, 4); // its first global interrupt
    const auto source_override = [&](uint8_t line, uint32_t pin, uint16_t flags) {
        entry(kOverride, 10);
        put(out, kIsaBus, 1);
        put(out, line, 1);
        put(out, pin, 4);
        put(out, flags, 2);
    };
    source_override(0, kTimerPin, kConforms);
    source_override(kSciIrq, kSciIrq, kActiveHighLevel);
    entry(kLocalNmi, 6);
    put(out, kAllProcessors, 1);
    put(out, kConforms, 2);
    put(out, kNmiPin, 1);
    return acpi_table("APIC", 1, out);
}

constexpr size_t kRsdpBytes = 20, kRsdpChecksum = 8, kRsdpRsdt = 16;

// ACPI 1.0 form, 20 bytes: revision 0, RSDT only.
Bytes rsdp(uint32_t rsdt_offset) {
    Bytes out;
    put(out, "RSD PTR ");
    put(out, 0, 1);
    put(out, kOemId);
    put(out, 0, 1);
    put(out, rsdt_offset, 4);
    VERIFY(out.size() == kRsdpBytes);
    return out;
}

// The table-loader script.
class Loader {
  public:
    enum class Zone : uint8_t { High = 1, FSegment = 2 };

    void allocate(std::string_view file, uint32_t alignment, Zone zone) {
        begin(1);
        file_name(file);
        put(script_, alignment, 4);
        put(script_, static_cast<uint8_t>(zone), 1);
        end();
    }
    // Adds the address of `source` to the `bytes` wide field at `offset` of `target`.
    void add_pointer(std::string_view target, std::string_view source, size_t offset, unsigned bytes) {
        begin(2);
        file_name(target);
        file_name(source);
        put(script_, offset, 4);
        put(script_, bytes, 1);
        end();
    }
    // Stores at `offset` what makes [start, start + length) sum to zero.
    void checksum(std::string_view file, size_t offset, size_t start, size_t length) {
        begin(3);
        file_name(file);
        put(script_, offset, 4);
        put(script_, start, 4);
        put(script_, length, 4);
        end();
    }
    Bytes take() { return std::move(script_); }

  private:
    static constexpr size_t kRecordBytes = 128, kNameBytes = 56;
    void begin(uint32_t command) {
        record_ = script_.size();
        put(script_, command, 4);
    }
    void file_name(std::string_view name) {
        put(script_, name);
        script_.resize(script_.size() + kNameBytes - name.size(), 0);
    }
    void end() {
        VERIFY(script_.size() <= record_ + kRecordBytes);
        script_.resize(record_ + kRecordBytes, 0);
    }
    Bytes script_;
    size_t record_ = 0;
};

} // namespace

std::vector<uint8_t> acpi_table(std::string_view signature, uint8_t revision,
                                const std::vector<uint8_t>& body) {
    Bytes out;
    put(out, signature);
    put(out, kHeaderBytes + body.size(), 4);
    put(out, revision, 1);
    put(out, 0, 1); // checksum
    put(out, kOemId);
    put(out, kOemTableId);
    put(out, 1, 4);
    put(out, kCreator);
    put(out, 1, 4);
    VERIFY(out.size() == kHeaderBytes);
    put(out, body);
    out[kChecksumOffset] = static_cast<uint8_t>(-std::accumulate(out.begin(), out.end(), 0));
    return out;
}

AcpiTables build_acpi_tables(unsigned floppy_drives) {
    AcpiTables out;
    Loader loader;
    const auto append = [&](const Bytes& table) {
        constexpr size_t kTableAlignment = 8;
        out.tables.resize((out.tables.size() + kTableAlignment - 1) & ~(kTableAlignment - 1), 0);
        const auto at = static_cast<uint32_t>(out.tables.size());
        put(out.tables, table);
        return at;
    };
    // A table whose pointers SeaBIOS changes needs its checksum recomputed by SeaBIOS, from zero.
    const auto recompute = [&](uint32_t table, size_t length) {
        out.tables[table + kChecksumOffset] = 0;
        loader.checksum(kTablesFile, table + kChecksumOffset, table, length);
    };

    const uint32_t facs_at = append(facs()); // first: the blob is aligned to 64, as the FACS must be
    const uint32_t dsdt_at = append(build_dsdt(floppy_drives));
    const Bytes fixed = fadt(facs_at, dsdt_at);
    const uint32_t fadt_at = append(fixed);
    const uint32_t madt_at = append(madt());
    Bytes entries;
    put(entries, fadt_at, 4);
    put(entries, madt_at, 4);
    const Bytes root = acpi_table("RSDT", 1, entries);
    const uint32_t rsdt_at = append(root);
    out.rsdp = rsdp(rsdt_at);

    constexpr uint32_t kFacsAlignment = 64, kRsdpAlignment = 16;
    loader.allocate(kTablesFile, kFacsAlignment, Loader::Zone::High);
    loader.allocate(kRsdpFile, kRsdpAlignment, Loader::Zone::FSegment);
    loader.add_pointer(kTablesFile, kTablesFile, fadt_at + kFadtFacs, 4);
    loader.add_pointer(kTablesFile, kTablesFile, fadt_at + kFadtDsdt, 4);
    loader.add_pointer(kTablesFile, kTablesFile, fadt_at + kFadtXDsdt, 8);
    recompute(fadt_at, fixed.size());
    for (size_t at = 0; at < entries.size(); at += 4)
        loader.add_pointer(kTablesFile, kTablesFile, rsdt_at + kHeaderBytes + at, 4);
    recompute(rsdt_at, root.size());
    loader.add_pointer(kRsdpFile, kTablesFile, kRsdpRsdt, 4);
    loader.checksum(kRsdpFile, kRsdpChecksum, 0, kRsdpBytes);
    out.loader = loader.take();
    return out;
}

} // namespace vmm
