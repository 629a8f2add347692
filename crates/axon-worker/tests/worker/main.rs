//! The worker against a real nats-server: what it takes, settles, refuses and hands back.

mod agent;
mod fixture;

mod burst;
mod drain;
mod pause;
mod settle;
