# Power cuts (tests/integration/test_power.py, tests/all/power): what notes a server's writes, and what looks into a store.
add_library(power_trace SHARED ${CMAKE_SOURCE_DIR}/tests/power/power_trace.c)
target_compile_options(power_trace PRIVATE ${HINDCAST_WARNINGS})
set_target_properties(power_trace PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
hindcast_binary(power_look FOLDER tests SOURCES ${CMAKE_SOURCE_DIR}/tests/power/power_look.c LINK hindcast_replay_server_service)
