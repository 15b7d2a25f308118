# hindcast_proto(target a.proto ..): protobuf-c's code for these files, generated in the build folder, as a library.
function(hindcast_proto target)
  set(generated "")
  foreach(file ${ARGN})
    get_filename_component(stem ${file} NAME_WE)
    set(out ${CMAKE_CURRENT_BINARY_DIR}/${stem}.pb-c)
    add_custom_command(OUTPUT ${out}.c ${out}.h
      COMMAND ${PROTOC_C} --proto_path=${CMAKE_CURRENT_SOURCE_DIR} --c_out=${CMAKE_CURRENT_BINARY_DIR}
              ${CMAKE_CURRENT_SOURCE_DIR}/${file}
      DEPENDS ${file} VERBATIM)
    list(APPEND generated ${out}.c ${out}.h)
  endforeach()
  add_library(${target} STATIC ${generated})
  target_link_libraries(${target} PUBLIC protobuf_c)
  file(RELATIVE_PATH folder ${CMAKE_BINARY_DIR} ${CMAKE_CURRENT_BINARY_DIR})
  hindcast_headers(${target} PUBLIC ${folder} ${CMAKE_CURRENT_BINARY_DIR})
endfunction()
