//! Message brokers in front of a ledger.

pub mod rabbitmq;
