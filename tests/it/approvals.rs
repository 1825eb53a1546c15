//! People who must agree to actions, through the whole stack.

mod answers;
mod changes;
mod evidence;
pub(crate) mod people;
