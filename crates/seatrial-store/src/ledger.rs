//! Ledgers: the one truth about jobs, kept in several ways that mean the same.

pub mod redis;
