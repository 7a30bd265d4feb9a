module wepp.example/probe

go 1.24
