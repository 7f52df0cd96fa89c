"""The commands that an installed package has: `rntn-jax sentiment|label|tag|infer`.

`rntn_jax.cli.main` reads the arguments; each command is a module beside it, whose functions
`./launch.sh` calls too.
"""
