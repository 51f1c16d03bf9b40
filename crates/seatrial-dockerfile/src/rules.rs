//! The rules on the tree. (being written)
