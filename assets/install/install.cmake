# cmake --install, in two components: encore and encore-kiosk. What a program can print itself (manual page, completions,
# the kiosk's session) is printed by it, so that they say what it does.
include(GNUInstallDirs)
set(files ${CMAKE_CURRENT_LIST_DIR})
set(printed ${CMAKE_BINARY_DIR}/installed)
find_program(GZIP gzip REQUIRED)
file(MAKE_DIRECTORY ${printed})

function(encore_printed name program)
  set(outputs ${printed}/${program}.1.gz ${printed}/${program}.changelog.gz ${printed}/${program}.bash ${printed}/${program}.fish ${printed}/_${program})
  add_custom_command(OUTPUT ${outputs}
    COMMAND ${program} --generate manual >${program}.1
    COMMAND ${GZIP} -9nf ${program}.1
    COMMAND ${program} --generate bash >${program}.bash
    COMMAND ${program} --generate fish >${program}.fish
    COMMAND ${program} --generate zsh >_${program}
    WORKING_DIRECTORY ${printed}
    COMMAND ${GZIP} -9nc ${files}/changelog >${program}.changelog.gz
    DEPENDS ${program} ${files}/changelog)
  add_custom_target(${name} ALL DEPENDS ${outputs})
  install(TARGETS ${program} DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT ${program})
  install(FILES ${printed}/${program}.1.gz DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT ${program})
  install(FILES ${printed}/${program}.bash RENAME ${program} COMPONENT ${program}
          DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
  install(FILES ${printed}/${program}.fish COMPONENT ${program}
          DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
  # Where zsh looks depends on who installs: a package or a person.
  install(CODE "
    set(folder site-functions)
    if(CMAKE_INSTALL_PREFIX STREQUAL \"/usr\")
      set(folder vendor-completions)
    endif()
    file(INSTALL ${printed}/_${program} DESTINATION \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_DATADIR}/zsh/\${folder}\")"
    COMPONENT ${program})
  install(FILES ${files}/${program}.desktop DESTINATION ${CMAKE_INSTALL_DATADIR}/applications COMPONENT ${program})
  install(FILES ${printed}/${program}.changelog.gz RENAME changelog.gz COMPONENT ${program}
          DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${program})
  install(FILES ${files}/copyright DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${program} COMPONENT ${program})
endfunction()

encore_printed(player_printed encore)
install(FILES ${files}/encore.svg COMPONENT encore
        DESTINATION ${CMAKE_INSTALL_DATADIR}/icons/hicolor/scalable/apps)
install(FILES ${files}/encore-bundle.svg COMPONENT encore
        DESTINATION ${CMAKE_INSTALL_DATADIR}/icons/hicolor/scalable/mimetypes)
install(FILES ${files}/encore.xml DESTINATION ${CMAKE_INSTALL_DATADIR}/mime/packages COMPONENT encore)
install(FILES ${files}/encore.magic DESTINATION ${CMAKE_INSTALL_DATADIR}/encore COMPONENT encore)
# Programs that only programs start.
install(TARGETS encore-machine encore-network start-portable DESTINATION lib/encore COMPONENT encore)
install(PROGRAMS ${files}/portable/start.sh DESTINATION ${CMAKE_INSTALL_DATADIR}/encore/portable COMPONENT encore)
install(FILES ${files}/portable/README.txt DESTINATION ${CMAKE_INSTALL_DATADIR}/encore/portable COMPONENT encore)
install(FILES ${CMAKE_SOURCE_DIR}/README.md DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/encore COMPONENT encore)
install(FILES ${CMAKE_SOURCE_DIR}/appliance-format/README.md RENAME bundle-format.md COMPONENT encore
        DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/encore)

if(TARGET encore-kiosk)
  encore_printed(kiosk_printed encore-kiosk)
  install(DIRECTORY ${CMAKE_BINARY_DIR}/share/locale DESTINATION ${CMAKE_INSTALL_DATADIR} COMPONENT encore-kiosk)
  install(FILES ${CMAKE_SOURCE_DIR}/kiosk/README.md DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/encore-kiosk
          COMPONENT encore-kiosk)
  # Log-in screens look in /usr/share alone; elsewhere `encore kiosk install` does it.
  set(session ${printed}/kiosk)
  set(script ${session}/usr/lib/encore/kiosk-session)
  add_custom_command(OUTPUT ${script}
    COMMAND encore kiosk install --packaged --force --root ${session}
    DEPENDS encore VERBATIM)
  add_custom_target(kiosk_session ALL DEPENDS ${script})
  install(CODE "
    if(CMAKE_INSTALL_PREFIX STREQUAL \"/usr\")
      file(INSTALL ${script} DESTINATION /usr/lib/encore USE_SOURCE_PERMISSIONS)
      file(INSTALL ${session}/usr/share/xsessions ${session}/usr/share/wayland-sessions DESTINATION /usr/share)
    endif()" COMPONENT encore-kiosk)
endif()

include(${CMAKE_CURRENT_LIST_DIR}/packages.cmake)
