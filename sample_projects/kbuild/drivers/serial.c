int serial;
