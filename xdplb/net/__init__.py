"""Links, neighbours, routes and the set-up of hosts. Only here pyroute2 is used."""
