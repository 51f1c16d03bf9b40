//! Servers for tests: Redis and RabbitMQ in folders and on ports of their own, on the loopback, gone when
//! the test is gone, however it ends. Never part of a product build (feature `testing`).
//!
//! The programs are the system's: `redis-server`, `rabbitmq-server` with `epmd`, and `openssl`.

mod certificates;
mod guard;
mod rabbit;
mod redis;

pub use self::{
    certificates::Certificates,
    guard::{Guarded, free_port},
    rabbit::RabbitServer,
    redis::RedisServer,
};
