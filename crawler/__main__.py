"""`python -m crawler`. Worker processes import this file too: everything else waits behind the guard."""

if __name__ == "__main__":
    from crawler.cli.app import main

    main()
