//! The order protocol, explored exhaustively: it holds, and each of its rules is needed.

mod faults;
mod holds;
