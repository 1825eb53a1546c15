module aegis.dev/tests/transparency_log

go 1.26.0

// An independent implementation of signed notes and tiled logs that must understand ours.
require golang.org/x/mod v0.42.0
