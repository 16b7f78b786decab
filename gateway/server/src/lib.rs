//! A Bayeux server to embed: sessions, channels, fan-out and the three transports
