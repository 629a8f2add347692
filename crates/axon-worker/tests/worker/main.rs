//! The worker against a real nats-server: what it takes, settles, refuses and hands back.

mod fixture;

mod burst;
mod drain;
mod pause;
mod settle;
