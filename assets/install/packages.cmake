# Debian packages: cpack -G DEB --config .build/release/CPackConfig.cmake. What the linker knows of is found by
# dpkg-shlibdeps; here is what is loaded when it is wanted, or only read. No maintainer scripts: dpkg's triggers refresh
# the desktops' databases.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME encore)
set(CPACK_PACKAGE_VENDOR Encore)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_CONTACT "Encore maintainers <maintainers@encore.invalid>" CACHE STRING "Maintainer of the packages")
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_SET_DESTDIR ON)
set(CPACK_STRIP_FILES ON)
set(CPACK_OUTPUT_FILE_PREFIX ${CMAKE_BINARY_DIR}/packages)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ
                                                WORLD_EXECUTE)
set(CPACK_COMPONENTS_ALL encore encore-kiosk)
set(CPACK_COMPONENTS_GROUPING IGNORE)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_SECTION utils)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)

set(CPACK_DEBIAN_ENCORE_PACKAGE_NAME encore)
set(CPACK_COMPONENT_ENCORE_DESCRIPTION "player of software demos
A bundle (something.encore) is one signed file that holds a whole prepared PC.
Encore checks the publisher's signature, starts the machine, and when the
session ends everything it wrote is gone. It needs no VT-x, no kernel module
and no root.
.
This package plays bundles and makes them.")
set(CPACK_DEBIAN_ENCORE_PACKAGE_DEPENDS
    "seabios, libsdl2-2.0-0, libx11-6, libxrandr2, libpango-1.0-0, libpangocairo-1.0-0, libcairo2, libglib2.0-0, libslirp0, libxkbcommon0, xkb-data")
set(CPACK_DEBIAN_ENCORE_PACKAGE_RECOMMENDS
    "qemu-utils, libcurl4, fonts-noto-core | fonts-dejavu-core, shared-mime-info, desktop-file-utils, hicolor-icon-theme")
set(CPACK_DEBIAN_ENCORE_PACKAGE_SUGGESTS "encore-kiosk, libengine-pkcs11-openssl")

set(CPACK_DEBIAN_ENCORE-KIOSK_PACKAGE_NAME encore-kiosk)
set(CPACK_COMPONENT_ENCORE-KIOSK_DESCRIPTION "kiosk and presenter for software demos
Tiles of bundles for visitors to choose from, locked, with a session that
reverts when nobody touches anything, and a presenter's window with scenes,
notes and a clock.
.
The log-in screen offers the kiosk as a session of its own.")
set(CPACK_DEBIAN_ENCORE-KIOSK_PACKAGE_DEPENDS "encore (= ${PROJECT_VERSION})")
set(CPACK_DEBIAN_ENCORE-KIOSK_PACKAGE_RECOMMENDS "fonts-noto-core, x11-xkb-utils, x11-xserver-utils")
set(CPACK_DEBIAN_ENCORE-KIOSK_PACKAGE_SUGGESTS "cage, xwayland, xinit")
include(CPack)
