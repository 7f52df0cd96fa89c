"""The commands that an installed package has: `rntn-jax sentiment|label|tag|parse|infer`.

`rntn_jax.cli.main` reads the arguments; each command is a module beside it, whose functions
`./launch.sh` calls too.
"""
