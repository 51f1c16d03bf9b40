//! The walk on fakes with faults: who is asked what, and how a job ends.

mod walk;
