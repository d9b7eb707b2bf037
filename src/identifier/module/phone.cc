/*
 * phone.cc
 *		cdp_phone: phone numbers by libphonenumber.
 */
#include "identifier/module.h"

#include <cstring>
#include <string>

#include <phonenumbers/phonenumberutil.h>

using i18n::phonenumbers::PhoneNumber;
using i18n::phonenumbers::PhoneNumberUtil;

/* The region of numbers that belong to none: only the international form is read. */
static const char nowhere[] = "ZZ";

/* Read a number as one dials it in a region; false: there is none that is valid. An extension is dropped. */
static bool
read(const std::string &text, const std::string &region, std::string *e164)
{
	const PhoneNumberUtil &library = *PhoneNumberUtil::GetInstance();
	PhoneNumber number;

	if (library.Parse(text, region, &number) != PhoneNumberUtil::NO_PARSING_ERROR || !library.IsValidNumber(number))
		return false;
	library.Format(number, PhoneNumberUtil::E164, e164);
	return e164->size() <= CDP_MAX_E164_BYTES;
}

/* The digits of a text, in order. */
static std::string
digits(const std::string &text)
{
	std::string found;

	for (char c : text)
	{
		if (c >= '0' && c <= '9')
			found += c;
	}
	return found;
}

/*
 * Read a number, and the result again, until that changes nothing: what was left out (a trunk prefix, a carrier's)
 * may have stood before another, and the stored form must be its own.
 */
static bool
settle(std::string written, const std::string &region, std::string *e164)
{
	if (!read(written, region, e164))
		return false;
	for (int i = 0; i < 3; i++)
	{
		if (digits(*e164) == digits(written))
			return true;
		written = *e164;
		if (!read(written, nowhere, e164))
			return false;
	}
	return false;
}

int
cdp_phone_to_e164(const char *text, int length, const char *region, char *out)
{
	try
	{
		std::string written(text, length);
		std::string e164;

		if (!settle(written, *region != '\0' ? region : nowhere, &e164))
		{
			/* 00 is the plus of those who dial it, and people write it where it is not dialled too */
			size_t zeros = written.find_first_not_of(" (");

			if (zeros == std::string::npos || written.compare(zeros, 2, "00") != 0 ||
				!settle(written.replace(zeros, 2, "+"), nowhere, &e164))
				return -1;
		}
		memcpy(out, e164.data(), e164.size());
		return e164.size();
	}
	catch (...)
	{
		return -1;
	}
}

int
cdp_phone_is_region(const char *region)
{
	try
	{
		return PhoneNumberUtil::GetInstance()->GetCountryCodeForRegion(region) != 0;
	}
	catch (...)
	{
		return 0;
	}
}
