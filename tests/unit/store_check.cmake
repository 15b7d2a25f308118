# The check of the replay store's file.
hindcast_test(store_check_test SOURCES ${CMAKE_SOURCE_DIR}/tests/unit/store_check_test.c LINK hindcast_test_replay)
