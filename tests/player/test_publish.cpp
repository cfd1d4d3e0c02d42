// A publisher's other verbs, by the real executable: signing what is there already, and machines made
// elsewhere.
#include "appliance-format/bundle_writer.h"
#include "signing/keys.h"
#include "tests/player/cli_desk.h"

using namespace cli_test;

namespace {

// Stock openssl's opinion of a bundle's signature, by the certificate CERT.crt.
bool openssl_accepts(Desk& desk, const std::string& bundle, const std::string& cert) {
    REQUIRE(desk.shell("tar xf " + bundle + " manifest.json manifest.cms") == 0);
    return desk.shell(
               "openssl cms -verify -binary -inform DER -in manifest.cms -content manifest.json -CAfile " +
               cert + ".crt -out checked") == 0;
}

} // namespace

TEST_CASE("sign: an unsigned bundle gets a signature and keeps its content", "[cli]") {
    Desk desk;
    REQUIRE(desk.run("trust add k.crt") == 0);
    REQUIRE(desk.run("pack r.toml -o u.encore --unsigned") == 0);
    CHECK(desk.run("sign u.encore --key k.key --cert k.crt -o x.encore") == 0);
    CHECK(desk.one_line());
    CHECK(desk.output.find("x.encore: signed by Acme Ltd") == 0);
    CHECK(desk.output.find("until now by nobody") != std::string::npos);
    CHECK(desk.run("verify x.encore") == 0);
    CHECK(desk.run("verify u.encore") == 3);
    CHECK(openssl_accepts(desk, "x.encore", "k"));
    // The same as packing it signed would have made, but for the signature.
    REQUIRE(desk.run("pack r.toml -o y.encore --key k.key --cert k.crt") == 0);
    REQUIRE(desk.shell("mkdir x y && tar xf x.encore -C x && tar xf y.encore -C y && "
                       "diff -r --exclude=manifest.cms x y") == 0);
}

TEST_CASE("sign: another key or a renewed certificate takes the place of the old signature", "[cli]") {
    Desk desk;
    REQUIRE(desk.run("pack r.toml -o x.encore --key k.key --cert k.crt") == 0);
    REQUIRE(desk.run("keygen --name 'Other GmbH' --rsa --out other") == 0);
    // Somebody else's content is not signed before one trusts them.
    const std::string bytes = desk.read("x.encore");
    CHECK(desk.run("sign x.encore --key other.key --cert other.crt") == 5);
    CHECK(desk.one_line());
    CHECK(desk.read("x.encore") == bytes);
    REQUIRE(desk.run("trust add k.crt") == 0);
    REQUIRE(desk.shell("tar xf x.encore manifest.json && mv manifest.json before.json") == 0);
    CHECK(desk.run("sign x.encore --key other.key --cert other.crt") == 0);
    CHECK(desk.output.find("signed by Other GmbH") != std::string::npos);
    CHECK(desk.output.find("until now by Acme Ltd") != std::string::npos);
    CHECK(desk.run("verify x.encore") == 5);
    REQUIRE(desk.run("trust add other.crt") == 0);
    CHECK(desk.run("verify x.encore") == 0);
    CHECK(openssl_accepts(desk, "x.encore", "other"));
    CHECK_FALSE(openssl_accepts(desk, "x.encore", "k"));
    CHECK(desk.read("manifest.json") == desk.read("before.json"));
}

TEST_CASE("sign: an expired certificate is renewed, a changed byte or a key that does not fit is refused",
          "[cli]") {
    Desk desk;
    const auto old = signing::generate_key_pair(
        {.name = "Acme Ltd", .organisation = {}, .valid_days = 2, .starts_in_days = -9});
    REQUIRE(old);
    REQUIRE(signing::write_key_pair(*old, desk.path + "/old"));
    CHECK(desk.run("pack r.toml -o x.encore --key old.key --cert old.crt") == 6);
    CHECK(desk.one_line());
    CHECK(desk.output.find("old.crt: the certificate of Acme Ltd expired on") != std::string::npos);
    CHECK_FALSE(fs::exists(desk.path + "/x.encore"));
    CHECK(desk.run("trust add old.crt") == 6);
    CHECK(desk.one_line());
    // As it was a week ago.
    REQUIRE(desk.run("pack r.toml -o x.encore --unsigned") == 0);
    const auto then = signing::Signer::from_pem(old->key_pem, old->certificate_pem);
    REQUIRE(
        appliance_format::BundleWriter::sign_again(**appliance_format::Bundle::open(desk.path + "/x.encore"),
                                                   desk.path + "/x.encore", *then, {.progress = {}}));
    REQUIRE(desk.shell("mkdir -p xdg/encore/trust && cp old.crt xdg/encore/trust") == 0);
    CHECK(desk.run("sign x.encore --key old.key --cert old.crt") == 6);
    REQUIRE(desk.run("trust add k.crt") == 0);
    REQUIRE(desk.run("verify x.encore") == 6);
    CHECK(desk.run("sign x.encore --key k.key --cert k.crt") == 0);
    CHECK(desk.run("verify x.encore") == 0);
    std::string bytes = desk.read("x.encore");
    REQUIRE(desk.run("keygen --name Other --out other") == 0);
    CHECK(desk.run("sign x.encore --key other.key --cert k.crt") == 1);
    CHECK(desk.one_line());
    CHECK(desk.run("sign x.encore") == 2);
    bytes[bytes.size() / 2] ^= 1;
    desk.write("x.encore", bytes);
    CHECK(desk.run("sign x.encore --key k.key --cert k.crt") == 4);
    CHECK(desk.one_line());
    CHECK(desk.output.find("blobs/chunks.0") != std::string::npos);
    CHECK(desk.read("x.encore") == bytes);
    CHECK(desk.run("sign r.toml --key k.key --cert k.crt") == 8);
}

namespace {

// The root of the first disk, and its size, as `inspect` shows them.
std::string first_disk(Desk& desk, const std::string& bundle) {
    REQUIRE(desk.run("inspect --json " + bundle) == 0);
    const size_t blob = desk.output.find("\"name\": \"disk0\"");
    REQUIRE(blob != std::string::npos);
    const size_t hash = desk.output.find("\"sha256\"", blob), size = desk.output.find("\"size\"", blob);
    return desk.output.substr(hash, desk.output.find('\n', hash) - hash) +
           desk.output.substr(size, desk.output.find('\n', size) - size);
}

constexpr const char* kSigned = " --key k.key --cert k.crt";

// As virtual machines are described: DSP0243 with the prefixes that programs choose.
std::string ovf(const std::string& memory, const std::string& system,
                const std::string& href = "my disk.vmdk") {
    return "<?xml version=\"1.0\"?>\n<ovf:Envelope xmlns:ovf=\"http://schemas.dmtf.org/ovf/envelope/1\">\n"
           "<ovf:References><ovf:File ovf:id=\"file1\" ovf:href=\"" +
           href +
           "\"/></ovf:References>\n"
           "<ovf:DiskSection><ovf:Info/><ovf:Disk ovf:diskId=\"vmdisk1\" "
           "ovf:fileRef=\"file1\"/></ovf:DiskSection>\n"
           "<ovf:VirtualSystem ovf:id=\"vm\"><ovf:Name>Acme &amp; Co (2)</ovf:Name>\n"
           "<ovf:OperatingSystemSection><Description>" +
           system +
           "</Description></ovf:OperatingSystemSection>\n"
           "<ovf:VirtualHardwareSection>\n"
           "<ovf:Item><rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits>"
           "<rasd:ResourceType>4</rasd:ResourceType><rasd:VirtualQuantity>" +
           memory +
           "</rasd:VirtualQuantity>"
           "</ovf:Item>\n<ovf:Item><rasd:HostResource>ovf:/disk/vmdisk1</rasd:HostResource>"
           "<rasd:ResourceType>17</rasd:ResourceType></ovf:Item>\n"
           "</ovf:VirtualHardwareSection></ovf:VirtualSystem></ovf:Envelope>\n";
}

} // namespace

TEST_CASE("import: a disk is the same from every format, read where it is", "[cli]") {
    Desk desk;
    REQUIRE(
        desk.shell(
            "truncate -s 4M disk.img && qemu-img convert -O vdi disk.img d.vdi && "
            "qemu-img convert -c -O qcow2 disk.img d.qcow2 && qemu-img convert -O vhdx disk.img d.vhdx && "
            "qemu-img convert -O vmdk disk.img m.vmdk && "
            "qemu-img convert -O vmdk -o subformat=streamOptimized disk.img 'with, comma.vmdk'") == 0);
    REQUIRE(desk.run(std::string("import disk.img -o raw.encore") + kSigned) == 0);
    CHECK(desk.output == "raw.encore: imported and signed\n");
    REQUIRE(desk.run("trust add k.crt") == 0);
    const std::string expected = first_disk(desk, "raw.encore");
    const size_t files = std::distance(fs::directory_iterator(desk.path), {});
    for (const char* image : {"d.vdi", "d.qcow2", "d.vhdx", "m.vmdk", "'with, comma.vmdk'"}) {
        CAPTURE(image);
        REQUIRE(desk.run(fmt::format("import {} -o x.encore{}", image, kSigned)) == 0);
        CHECK(first_disk(desk, "x.encore") == expected);
        CHECK(desk.run("verify x.encore") == 0);
    }
    CHECK(static_cast<size_t>(std::distance(fs::directory_iterator(desk.path), {})) ==
          files + 1); // the bundle
    // VHD rounds the size up to a geometry.
    REQUIRE(desk.shell("qemu-img convert -O vpc disk.img d.vhd && qemu-img convert -O raw d.vhd v.img") == 0);
    REQUIRE(desk.run(std::string("import v.img -o v.encore") + kSigned) == 0);
    REQUIRE(desk.run(std::string("import d.vhd -o x.encore") + kSigned) == 0);
    CHECK(first_disk(desk, "x.encore") == first_disk(desk, "v.encore"));
}

TEST_CASE("import: an OVA's disk is read inside it, its name and memory are kept, a recipe can be had",
          "[cli]") {
    Desk desk;
    REQUIRE(desk.shell("qemu-img convert -O vmdk -o subformat=streamOptimized disk.img 'my disk.vmdk'") == 0);
    desk.write("m.ovf", ovf("131072", "Debian_64"));
    REQUIRE(desk.shell("tar cf m.ova --format=ustar m.ovf 'my disk.vmdk'") == 0);
    REQUIRE(desk.run(std::string("import disk.img -o raw.encore") + kSigned) == 0);
    REQUIRE(desk.run(std::string("import m.ova -o x.encore") + kSigned) == 0);
    CHECK(desk.output.find("has 131072 MB of memory there, 65536 here") != std::string::npos);
    CHECK(desk.output.find("64-bit") != std::string::npos);
    CHECK(first_disk(desk, "x.encore") == first_disk(desk, "raw.encore"));
    REQUIRE(desk.run("inspect x.encore") == 0);
    CHECK(desk.output.find("Acme & Co (2)") != std::string::npos);
    desk.write("m.ovf", ovf("256", "Debian"));
    REQUIRE(desk.shell("mkdir sub && mv 'my disk.vmdk' m.ovf sub") == 0);
    REQUIRE(desk.run("import sub/m.ovf --recipe m.toml") == 0);
    CHECK(desk.one_line());
    CHECK(desk.read("m.toml") == "[appliance]\nname = \"acme-co-2\"\ntitle = \"Acme & Co (2)\"\n\n[machine]\n"
                                 "memory = \"256M\"\n\n[[disk]]\nimage = \"sub/my disk.vmdk\"\n");
    REQUIRE(desk.run(std::string("pack m.toml -o y.encore") + kSigned) == 0);
    CHECK(first_disk(desk, "y.encore") == first_disk(desk, "raw.encore"));
}

TEST_CASE("import: images and descriptions that name other files are refused, and so is rubbish", "[cli]") {
    Desk desk;
    const auto refuses = [&](const std::string& source, const std::string& why, int status) {
        CAPTURE(source);
        CHECK(desk.run("import " + source + " -o x.encore --unsigned") == status);
        CHECK(desk.output.find(why) != std::string::npos);
        CHECK(desk.one_line());
        CHECK_FALSE(fs::exists(desk.path + "/x.encore"));
    };
    REQUIRE(desk.shell("qemu-img convert -O qcow2 disk.img base.qcow2 && "
                       "qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 over.qcow2 && "
                       "qemu-img convert -O vmdk disk.img base.vmdk && "
                       "qemu-img create -q -f vmdk -b base.vmdk -F vmdk over.vmdk && "
                       "qemu-img convert -O vmdk -o subformat=monolithicFlat disk.img flat.vmdk && "
                       "qemu-img create -q -f qcow2 -o data_file=d.raw,data_file_raw=on data.qcow2 1M") == 0);
    refuses("over.qcow2", "needs another file", 9);
    refuses("data.qcow2", "needs another file", 9);
    refuses("flat.vmdk", "in other files", 9);
    refuses("over.vmdk", "needs another file", 9);
    const std::string cut = desk.read("base.qcow2");
    for (const size_t bytes : {size_t{200}, size_t{70000}, cut.size() - 100'000}) {
        desk.write("cut.qcow2", cut.substr(0, bytes));
        refuses("cut.qcow2", "cut short", 9);
    }
    desk.write("odd.img", "not a disk");
    refuses("odd.img", "no image of a known kind", 9);
    refuses("missing.ova", "missing.ova", 1);
    desk.write("m.ovf", ovf("256", "x", "../../etc/passwd"));
    refuses("m.ovf", "not beside it", 1);
    desk.write("m.ovf", ovf("256", "x", "gone.vmdk"));
    REQUIRE(desk.shell("tar cf m.ova m.ovf") == 0);
    refuses("m.ova", "there is no gone.vmdk in it", 9);
    desk.write("m.ovf", ovf("256", "x").substr(0, 300));
    refuses("m.ovf", "not an OVF description", 1);
    REQUIRE(desk.shell("tar cf t.ova r.toml") == 0);
    refuses("t.ova", "without a description", 1);
    CHECK(desk.run("import disk.img") == 2);
    CHECK(desk.run("import disk.img -o x.encore") == 2);
    CHECK(desk.run("import disk.img -o x.encore --unsigned --memory 5T") == 2);
    CHECK(desk.one_line());
}

TEST_CASE("portable: what comes with it is trusted by its own programs, and by no others", "[cli]") {
    Desk desk;
    REQUIRE(desk.run("pack r.toml -o x.encore --key k.key --cert k.crt --with-player stick") == 0);
    REQUIRE(desk.shell("mkdir -p planted/bin && cp -R stick/player/trust planted/") == 0);
    REQUIRE(desk.shell(std::string("cp ") + ENCORE_BINARY + " planted/bin/") == 0);
    CHECK(desk.shell("stick/player/bin/encore verify stick/x.encore") == 0);
    CHECK(desk.shell("stick/player/bin/encore trust list") == 0);
    CHECK(desk.output.find("Acme Ltd") != std::string::npos);
    CHECK(desk.shell("planted/bin/encore verify stick/x.encore") == 5);
    CHECK(desk.run("verify stick/x.encore") == 5);
    // Nor does the folder vouch for anybody who is not in it.
    REQUIRE(desk.run("keygen --name 'Other GmbH' --out other") == 0);
    REQUIRE(desk.run("pack r.toml -o y.encore --key other.key --cert other.crt") == 0);
    CHECK(desk.shell("stick/player/bin/encore verify y.encore") == 5);
}
