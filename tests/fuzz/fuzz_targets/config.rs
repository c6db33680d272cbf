#![no_main]

undertone_fuzz::target!("config");
