# text_source(TARGET FILE NAME) compiles a text file into TARGET as `const char NAME[]`. When the file changes, CMake
# runs again.
include_guard(GLOBAL)

function(text_source target file name)
  file(READ ${file} text)
  string(REPLACE "\\" "\\\\" text "${text}")
  string(REPLACE "\"" "\\\"" text "${text}")
  string(REPLACE "\n" "\\n\"\n  \"" text "${text}")
  set(output ${CMAKE_CURRENT_BINARY_DIR}/${name}.c)
  file(CONFIGURE OUTPUT ${output} @ONLY CONTENT
    "extern const char ${name}[];\nconst char ${name}[] =\n  \"${text}\";\n")
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
  target_sources(${target} PRIVATE ${output})
endfunction()
