if(TARGET hindcast_rendering)
  hindcast_test(film_test SOURCES unit/common/render/film_test.c
                LINK hindcast_render hindcast_test_base hindcast_test_environments TIMEOUT 120)
endif()
