#include "tests/appliance-format/bundle_fixture.h"

#include "appliance-format/crc32c.h"
#include "appliance-format/safe_path.h"

#include <archive.h>
#include <archive_entry.h>

using namespace fixture;

TEST_CASE("safe_path: only plain relative names pass", "[format]") {
    for (const char* good : {"a", "blobs/chunks.0", "start/ram", "A_b-1.x/y"})
        CHECK(is_safe_path(good));
    for (const char* bad : {"", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "../a", ".hidden", "a/.b", "-a",
                            "a b", "a\\b", "a\nb", "\xc3\xa9", "c:x"})
        CHECK_FALSE(is_safe_path(bad));
    CHECK_FALSE(is_safe_path(std::string(97, 'a')));
    CHECK_FALSE(is_safe_path(std::string_view("a\0b", 3)));
}

TEST_CASE("plain text: controls and overrides of direction are refused", "[format]") {
    CHECK(is_plain_text("Gr\xc3\xbc\xc3\x9f", 10, Lines::One));
    CHECK(is_plain_text("a\nb", 10, Lines::Many));
    CHECK_FALSE(is_plain_text("a\nb", 10, Lines::One));
    CHECK_FALSE(is_plain_text("\x1b[31m", 10, Lines::Many));
    CHECK_FALSE(is_plain_text("\xc2\x9b", 10, Lines::Many));
    CHECK_FALSE(is_plain_text("\xe2\x80\xae", 10, Lines::Many));
    CHECK_FALSE(is_plain_text("12345", 4, Lines::One));
}

TEST_CASE("utf-8: overlong forms, surrogates and cut sequences are refused", "[format]") {
    for (const char* good : {"", "a", "\xc2\x80", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf"})
        CHECK(is_utf8(good));
    for (const char* bad :
         {"\x80", "\xc0\x80", "\xc2", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf5"})
        CHECK_FALSE(is_utf8(bad));
}

TEST_CASE("crc32c: the check value of the standard", "[format]") {
    // RFC 3720 appendix B.4
    CHECK(crc32c(Bytes(32, 0)) == 0x8A9136AA);
    CHECK(crc32c(Bytes(32, 0xFF)) == 0x62A8AB43);
    Bytes digits{'1', '2', '3', '4', '5', '6', '7', '8', '9'};
    CHECK(crc32c(digits) == 0xE3069283);
}

TEST_CASE("merkle: the shape follows from the size alone", "[format]") {
    CHECK(TreeShape(0, 4096).chunks() == 0);
    CHECK(TreeShape(0, 4096).height() == 0);
    CHECK(TreeShape(1, 4096).height() == 0);
    CHECK(TreeShape(64 * 4096, 4096).height() == 1);
    CHECK(TreeShape(64 * 4096 + 1, 4096).height() == 2);
    TreeShape shape(65 * 4096 - 1, 4096);
    CHECK(shape.object_size(0, 64) == 4095);
    CHECK(shape.object_size(1, 0) == 64 * kRefBytes);
    CHECK(shape.object_size(1, 1) == kRefBytes);
    CHECK(shape.object_size(2, 0) == 2 * kRefBytes);
    CHECK(TreeShape(kMaxBlobSize, kMinChunk).height() == 6);
}

TEST_CASE("merkle: references survive encoding", "[format]") {
    ObjectRef ref{signing::sha256(Bytes{1}), 4095, (uint64_t{1} << 48) - 1, 0xFFFFFFFF, 0x12345678};
    std::array<uint8_t, kRefBytes> bytes;
    encode_ref(ref, bytes);
    CHECK(decode_ref(bytes) == ref);
    CHECK_FALSE(ref.is_zero());
    encode_ref({}, bytes);
    CHECK(bytes == std::array<uint8_t, kRefBytes>{});
}

TEST_CASE("tar: libarchive writes the header form this format fixes", "[format]") {
    Bytes out(4096);
    size_t used = 0;
    archive* a = archive_write_new();
    archive_write_set_format_pax_restricted(a);
    archive_write_set_bytes_in_last_block(a, 1);
    REQUIRE(archive_write_open_memory(a, out.data(), out.size(), &used) == ARCHIVE_OK);
    archive_entry* entry = archive_entry_new();
    archive_entry_set_pathname(entry, "blobs/chunks.12");
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_size(entry, 5);
    archive_entry_set_mtime(entry, 0, 0);
    REQUIRE(archive_write_header(a, entry) == ARCHIVE_OK);
    archive_write_data(a, "hello", 5);
    archive_entry_free(entry);
    archive_write_close(a);
    archive_write_free(a);
    auto expected = canonical_header("blobs/chunks.12", 5);
    REQUIRE(used == 2048);
    CHECK(std::equal(expected.begin(), expected.end(), out.begin()));
}
