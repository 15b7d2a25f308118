# cpack --config BUILD/CPackConfig.cmake: a .deb for Debian 12 and a tarball of the installed tree. The .deb depends on the
# packages of the libraries that the programs load; MuJoCo's and carquet's are in it.
set(CPACK_PACKAGE_NAME hindcast)
set(CPACK_PACKAGE_VENDOR Hindcast)
set(CPACK_PACKAGE_CONTACT "Hindcast maintainers <maintainers@hindcast.invalid>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Learns control policies from logged data")
set(CPACK_RESOURCE_FILE_LICENSE ${CMAKE_SOURCE_DIR}/LICENSE)
set(CPACK_GENERATOR "DEB;TGZ")
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS "${MUJOCO_DIR};${MUJOCO_DIR}/lib;${CARQUET_DIR}/lib;${CARQUET_DIR}/carquet.libs")
include(CPack)
