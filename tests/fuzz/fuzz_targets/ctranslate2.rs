#![no_main]

undertone_fuzz::target!("ctranslate2");
