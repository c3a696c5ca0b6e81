# man_page(NAME.SECTION.scd [THROUGH GENERATOR]) makes a manual page with scdoc, installs it, and tests that groff has
# nothing to say against it. With THROUGH, the source first passes through that executable (stdin to stdout), which
# fills in what is made from the tables of the code. Output: NAME.SECTION in the current build folder; target
# man-NAME.SECTION, part of `all`.
include_guard(GLOBAL)
find_program(SCDOC scdoc REQUIRED) # manual pages
find_program(GROFF groff)          # their test

function(man_page source)
  cmake_parse_arguments(PARSE_ARGV 1 MAN "" "THROUGH" "")
  get_filename_component(page ${source} NAME_WLE)
  string(REGEX MATCH "[0-9]$" section ${page})
  set(input ${CMAKE_CURRENT_SOURCE_DIR}/${source})
  set(output ${CMAKE_CURRENT_BINARY_DIR}/${page})
  if(MAN_THROUGH)
    add_custom_command(OUTPUT ${output}.scd COMMAND ${MAN_THROUGH} < ${input} > ${output}.scd
      DEPENDS ${MAN_THROUGH} ${input} VERBATIM)
    set(input ${output}.scd)
  endif()
  add_custom_command(OUTPUT ${output} COMMAND ${SCDOC} < ${input} > ${output} DEPENDS ${input} VERBATIM)
  add_custom_target(man-${page} ALL DEPENDS ${output})
  install(FILES ${output} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
  if(GROFF AND BUILD_TESTING)
    add_test(NAME man.${page} COMMAND ${GROFF} -man -Tutf8 -ww -z ${output})
    set_tests_properties(man.${page} PROPERTIES FAIL_REGULAR_EXPRESSION "." LABELS man)
  endif()
endfunction()
