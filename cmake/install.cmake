# cmake --install BUILD --prefix PREFIX: a tree that runs from wherever it is, or is moved to. Programs find MuJoCo's
# library by $ORIGIN and models by common/base/installation.h; Debian's libraries come from the system.
#
#   bin/hindcast, bin/hindcast-learner, ..    programs
#   include/hindcast_policy.h, lib/libhindcast_policy.*, lib/pkgconfig/  the policy library (deploy/policy/CMakeLists.txt)
#   lib/hindcast/libmujoco.so.*               beside them: not a system library
#   lib/hindcast/carquet/, carquet.libs/      libcarquet.so and what it loads, for Parquet files
#   share/hindcast/control_suite/, sawyer/    models
#   share/hindcast/tasks/NAME/                models and other files of HINDCAST_TASKS
#   share/hindcast/experiments/               one YAML file per experiment; rewards in Lua
#   share/hindcast/slurm/, kubernetes/        a whole experiment as one job, or as pods
#   share/doc/hindcast/                       README, LICENSE, CHANGELOG, docs
#   share/bash-completion/, share/zsh/, share/man/man1/  completion and manual pages, made by the programs themselves
include(GNUInstallDirs)

set(HINDCAST_PROGRAMS hindcast hindcast-replay-server hindcast-restorer hindcast-learner hindcast-evaluator
    hindcast-offline-evaluator hindcast-collector hindcast-robot-sim
    hindcast-robot-operator)
set_target_properties(${HINDCAST_PROGRAMS} PROPERTIES
  INSTALL_RPATH "$ORIGIN/../lib/hindcast;$ORIGIN/../lib/hindcast/carquet")
install(TARGETS ${HINDCAST_PROGRAMS} RUNTIME DESTINATION bin)
install(PROGRAMS ${MUJOCO_LIBRARY} DESTINATION lib/hindcast)
if(TARGET carquet)
  install(PROGRAMS ${CARQUET_DIR}/lib/libcarquet.so DESTINATION lib/hindcast/carquet)
  install(FILES ${CARQUET_DIR}/LICENSE DESTINATION lib/hindcast/carquet OPTIONAL)
  if(EXISTS ${CARQUET_DIR}/carquet.libs)
    install(DIRECTORY ${CARQUET_DIR}/carquet.libs DESTINATION lib/hindcast)
  endif()
endif()
install(DIRECTORY ${CONTROL_SUITE_DIR}/ DESTINATION share/hindcast/control_suite PATTERN ".stamp" EXCLUDE)
install(DIRECTORY ${SAWYER_DIR}/ DESTINATION share/hindcast/sawyer OPTIONAL PATTERN ".stamp" EXCLUDE)
foreach(file ${HINDCAST_TASKS})
  get_filename_component(path ${file} ABSOLUTE)
  get_filename_component(name ${path} NAME_WE)
  get_filename_component(folder ${path} DIRECTORY)
  install(DIRECTORY ${folder}/ DESTINATION share/hindcast/tasks/${name} PATTERN "*.c" EXCLUDE)
endforeach()
install(DIRECTORY experiments DESTINATION share/hindcast FILES_MATCHING PATTERN "*.yaml" PATTERN "*.lua")
install(DIRECTORY deploy/slurm deploy/kubernetes DESTINATION share/hindcast USE_SOURCE_PERMISSIONS)
install(FILES README.md LICENSE CHANGELOG.md DESTINATION share/doc/hindcast)
install(DIRECTORY docs DESTINATION share/doc/hindcast)

# The programs print their own option tables.
install(CODE "
  foreach(shell bash zsh)
    execute_process(COMMAND \"${CMAKE_BINARY_DIR}/hindcast\" completion \${shell}
                    OUTPUT_FILE \"${CMAKE_BINARY_DIR}/completion.\${shell}\" RESULT_VARIABLE result)
    if(NOT result EQUAL 0)
      message(FATAL_ERROR \"hindcast completion \${shell}: exit status \${result}\")
    endif()
  endforeach()")
install(FILES ${CMAKE_BINARY_DIR}/completion.bash DESTINATION share/bash-completion/completions RENAME hindcast)
install(FILES ${CMAKE_BINARY_DIR}/completion.zsh DESTINATION share/zsh/site-functions RENAME _hindcast)
install(CODE "
  file(MAKE_DIRECTORY \"${CMAKE_BINARY_DIR}/man1\")
  foreach(program ${HINDCAST_PROGRAMS})
    execute_process(COMMAND \"${CMAKE_BINARY_DIR}/hindcast\" man \${program}
                    OUTPUT_FILE \"${CMAKE_BINARY_DIR}/man1/\${program}.1\" RESULT_VARIABLE result)
    if(NOT result EQUAL 0)
      message(FATAL_ERROR \"hindcast man \${program}: exit status \${result}\")
    endif()
  endforeach()")
install(DIRECTORY ${CMAKE_BINARY_DIR}/man1 DESTINATION share/man)
