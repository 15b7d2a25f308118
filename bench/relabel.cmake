# Rewards of logs by a Lua file.
hindcast_binary(bench_relabel FOLDER bench SOURCES ${CMAKE_CURRENT_LIST_DIR}/bench_relabel.c
                LINK hindcast_relabel hindcast_environments)
target_compile_definitions(bench_relabel PRIVATE HINDCAST_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
