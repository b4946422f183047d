"""What carries the packets: the program in the kernel and its maps. Only here bcc and libbpf are used."""
