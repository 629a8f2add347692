//! One test binary: the bus against a real server, and the fleet as real processes.

mod bus_connect;
mod bus_doorbell;
mod bus_lease;
mod bus_publish;
mod bus_pull;
mod bus_table;
mod fleet_burst;
mod fleet_command;
mod fleet_crash;
mod fleet_drain;
mod fleet_malformed;
mod fleet_python;
mod fleet_query;
mod house;
